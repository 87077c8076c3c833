"""photosets: which photos belong together, where each goes, and every fault of the arguments at
once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.photos.photo import load_photo
from cloakwork.photos.sets import PhotoSet, find_sets, load_all


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names: str) -> None:
    """Photos by name, each in its own colour."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 70), (sum(name.encode()) % 256, 1, 2)).save(name)


def faults(*photos: str | Path, out: str = "out", **options) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        find_sets(photos, Path(out), **options)
    return caught.value.sentences


def shape(sets: list[PhotoSet]) -> dict[str, list[str]]:
    """Name of each set -> where its photos go, below the place."""
    return {s.name: [str(output.relative_to(Path.cwd())) for output in s.outputs] for s in sets}


def test_loose_files_are_one_set(place: Path) -> None:
    make("b.jpg", "x/a.png")
    (photo_set,) = find_sets(["b.jpg", Path("x/a.png")], Path("out"))
    assert photo_set.files == (place / "b.jpg", place / "x/a.png")
    assert photo_set.outputs == (place / "out/b.png", place / "out/a.png")


def test_a_folder_is_a_set_and_its_subfolders_are_mirrored(place: Path) -> None:
    make(
        "in/a.jpg",
        "in/sub/b.PNG",
        "in/sub/deep/c.webp",
        "in/.cloakwork/sheet.png",
        "in/.hidden.png",
    )
    Path("in/notes.txt").write_text("no photo")
    Path("in/empty").mkdir()
    assert shape(find_sets(["in"], Path("out"), suffix=".webp")) == {
        "": ["out/a.webp"],
        "sub": ["out/sub/b.webp"],
        "sub/deep": ["out/sub/deep/c.webp"],
    }


def test_several_folders_go_to_folders_of_their_names(place: Path) -> None:
    make("alice/a.jpg", "bob/a.jpg", "bob/old/b.jpg", "c.jpg")
    assert shape(find_sets(["alice", "bob"], Path("out"))) == {
        "alice": ["out/alice/a.png"],
        "bob": ["out/bob/a.png"],
        "bob/old": ["out/bob/old/b.png"],
    }
    assert shape(find_sets(["alice", "c.jpg"], Path("out"))) == {
        "": ["out/c.png"],
        "alice": ["out/alice/a.png"],
    }


def test_each_makes_every_photo_a_set(place: Path) -> None:
    make("in/a.jpg", "in/b.jpg", "in/sub/c.jpg")
    sets = find_sets(["in"], Path("out"), each=True)
    assert [(s.name, [f.name for f in s.files], [o.name for o in s.outputs]) for s in sets] == [
        ("", ["a.jpg"], ["a.png"]),
        ("", ["b.jpg"], ["b.png"]),
        ("sub", ["c.jpg"], ["c.png"]),
    ]


def test_one_set_joins_the_photos_of_several_folders(place: Path) -> None:
    make("trip/a.jpg", "home/a.jpg", "home/old/b.jpg", "c.jpg")
    (photo_set,) = find_sets(["trip", "home", "c.jpg"], Path("out"), one_set=True)
    assert shape([photo_set]) == {
        "": ["out/c.png", "out/home/a.png", "out/home/old/b.png", "out/trip/a.png"]
    }
    sources = ["c.jpg", "home/a.jpg", "home/old/b.jpg", "trip/a.jpg"]
    assert photo_set.files == tuple(place / f for f in sources)
    assert shape(find_sets(["home"], Path("out"), one_set=True)) == {
        "": ["out/a.png", "out/old/b.png"]
    }


def test_names_that_clash_in_one_set_are_told(place: Path) -> None:
    """Not to be named in runs of their own, which would make two sets of one."""
    make("x/trip/a.jpg", "y/trip/b.jpg", "z/c.jpg", "z/c.png")
    (sentence,) = faults("x/trip", "y/trip", one_set=True)
    assert sentence == (
        f"{place}/x/trip and {place}/y/trip would share the output folder {place}/out/trip; "
        "rename one of them."
    )
    (sentence,) = faults("z", one_set=True)
    assert sentence.endswith(f"would all be written to {place}/out/c.png; rename them.")
    make("d.jpg")
    (sentence,) = faults("d.jpg", each=True, one_set=True)
    assert "choose each or one set" in sentence


def test_order_and_repetition_of_arguments_do_not_matter(place: Path) -> None:
    make("in/a.jpg", "in/b.jpg", "in/sub/c.jpg", "d.jpg")
    once = find_sets(["in", "d.jpg"], Path("out"))
    again = find_sets(
        ["d.jpg", "./d.jpg", "in/sub/../b.jpg", "in/sub", place / "in", "in/*.jpg", "in"],
        Path("out"),
    )
    assert once == again
    assert sum(len(s.files) for s in once) == 4
    assert find_sets(["in", "in/a.jpg"], Path("out")) == find_sets(["in"], Path("out"))


def test_sets_come_in_the_order_of_their_folders(place: Path) -> None:
    names = list("abcdefgh")
    make(*[f"{name}/1.jpg" for name in names])
    assert [s.name for s in find_sets(names[::-1], Path("out"))] == names


def test_patterns(place: Path) -> None:
    make("in/a.jpg", "in/b.png", "in/sub/c.jpg", "in/.hidden.jpg", "in/.old/d.jpg", "odd[1].jpg")
    Path("in/notes.txt").write_text("no photo")
    files = lambda *patterns: [f.name for s in find_sets(patterns, Path("out")) for f in s.files]  # noqa: E731
    assert files("in/*.jpg") == ["a.jpg"]
    assert files("in/**/*.jpg") == ["a.jpg", "c.jpg"]
    assert files(f"{place}/in/?.*") == ["a.jpg", "b.png"]
    assert files("in/.old/*") == ["d.jpg"]
    assert sorted(files("in/*")) == ["a.jpg", "b.png", "c.jpg"]
    assert files("odd[1].jpg") == ["odd[1].jpg"]


def test_all_faults_are_told_together(place: Path) -> None:
    make("a.jpg", "a.png", "in/b.jpg")
    Path("empty").mkdir()
    sentences = faults(
        "a.jpg",
        "a.png",
        "missing.jpg",
        "missing.jpg",
        "*.tiff",
        "a**.jpg",
        "",
        "empty",
        "in",
        suffix=".gif",
    )
    text = "\n".join(sentences)
    assert len(sentences) == 7
    assert "'missing.jpg' does not exist" in text
    assert "'*.tiff' matches no photo" in text and "'a**.jpg' matches no photo" in text
    assert "'' does not exist" in text
    assert "empty holds no photos" in text
    assert "'.gif' is not one of .png" in text
    assert (
        f"{place / 'a.jpg'} and {place / 'a.png'} would all be written to {place / 'out/a.gif'}"
        in text
    )


def test_names_that_collide_are_told(place: Path) -> None:
    make("in/a.jpg", "in/a.png", "x/b.jpg", "y/b.jpg")
    assert (
        len(faults("in")) == 1
        and "a.jpg and" in faults("in")[0]
        and "a.png would" in faults("in")[0]
    )
    assert "x/b.jpg and" in faults("x/b.jpg", "y/b.jpg")[0]
    assert len(faults("in", each=True)) == 1
    make("p/same/1.jpg", "q/same/2.jpg")
    assert "would share the output folder" in faults("p/same", "q/same")[0]


def test_what_to_do_about_one_name_does_not_lead_to_overwriting(place: Path) -> None:
    make("in/a.jpg", "in/a.png", "p/same/1.jpg", "q/same/2.jpg")
    for sentence in (*faults("in"), *faults("p/same", "q/same")):
        assert sentence.endswith("in separate runs, each with an output folder of its own.")
    assert faults("in", one_set=True)[0].endswith("rename them.")


def test_photos_without_a_known_ending_are_known_by_their_content(place: Path) -> None:
    make("in/a.jpg", "in/b.png", "in/c.webp", "in/d.tif", "in/e.gif", "in/f.bmp")
    for old, new in [
        ("a.jpg", "a.jfif"),
        ("b.png", "b"),
        ("c.webp", "c.picture"),
        ("d.tif", "d.cr2"),  # a raw file begins like this, and shows its thumbnail
        ("f.bmp", "f.dat"),
    ]:
        Path("in", old).rename(Path("in", new))
    make("in/x.jpg")
    for kept_aside in ("x.jpg~", "x.jpg.bak", "x.jpg_original", "x.thm"):
        Path("in", kept_aside).write_bytes(Path("in/x.jpg").read_bytes())
    assert shape(find_sets(["in"], Path("out"))) == {
        "": ["out/a.png", "out/b.png", "out/c.png", "out/x.png"]
    }
    assert shape(find_sets(["in/[abc]*"], Path("out"))) == {
        "": ["out/a.png", "out/b.png", "out/c.png"]
    }


def test_the_home_folder_is_known(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    make("in/a.jpg", "b/~odd.jpg")
    assert find_sets(["~/in"], Path("out"))[0].files == (place / "in/a.jpg",)
    assert find_sets([Path("~/in/*.jpg")], Path("out"))[0].files == (place / "in/a.jpg",)
    monkeypatch.chdir(place / "b")
    assert find_sets(["~odd.jpg"], Path("out"))[0].files == (place / "b/~odd.jpg",)
    assert "does not exist" in faults("~nobody-of-this-name/a.jpg")[0]


def test_no_photos_is_a_fault(place: Path) -> None:
    assert "No photos were named" in faults()[0]


def test_results_never_become_inputs(place: Path) -> None:
    make("in/a.jpg", "in/safe/a.png", "out/old/b.png", "out/c.png")
    for out, says in (("in", "is the input folder"), ("in/safe", "lies in the input folder")):
        (sentence,) = faults("in", out=out)
        assert says in sentence
    assert len(faults("out/old")) == 1
    assert "lies in the input folder" in faults("in", out="in/.new")[0]
    assert "lies in the output folder" in faults("out/old")[0]
    assert "lies in the output folder" in faults("out/c.png")[0]
    assert "lies in the output folder" in faults("in/a.jpg", out="in")[0]
    assert find_sets(["in/a.jpg"], Path("in/safe"))  # a loose file does not bring its folder along


def test_results_never_become_inputs_through_links(place: Path) -> None:
    make("in/a.jpg", "out/b.png")
    Path("in/link").symlink_to(place / "out")
    Path("link.png").symlink_to(place / "out/b.png")
    Path("out/link.jpg").symlink_to(place / "in/a.jpg")
    Path("alias").symlink_to(place / "in")
    assert "lies in the output folder" in faults("in")[0]
    assert "lies in the output folder" in faults("link.png")[0]
    assert "lies in the output folder" in faults("out/link.jpg")[0]
    assert any("is the input folder" in sentence for sentence in faults("in", out="alias"))


def test_the_output_must_be_a_folder(place: Path) -> None:
    make("in/a.jpg")
    Path("out").write_text("in the way")
    assert "is a file where a folder is needed" in faults("in")[0]


def test_loops_of_links_are_told(place: Path) -> None:
    make("in/a.jpg", "in/sub/b.jpg")
    Path("in/sub/up").symlink_to(place / "in")
    Path("in/sub/self").symlink_to("self")
    assert (
        len(faults("in")) == 1
        and "symbolic link" in faults("in")[0]
        and "in/sub/up" in faults("in")[0]
    )
    assert [f.name for s in find_sets(["in/**/*.jpg"], Path("out")) for f in s.files] == [
        "a.jpg",
        "b.jpg",
    ]
    Path("circle").symlink_to("circle")
    assert find_sets(["circle"], Path("out"))[0].files == (
        place / "circle",
    )  # load() tells that it is a broken link


def test_many_loops_end_at_once(place: Path) -> None:
    make("in/a.jpg")
    for name in "bcdefghij":
        Path("in", name).mkdir()
        for other in "bcdefghij":
            Path("in", name, other).symlink_to(place / "in" / other)
    assert len(faults("in")) == 81


def test_links_to_folders_elsewhere_are_followed(place: Path) -> None:
    make("in/a.jpg", "elsewhere/b.jpg")
    Path("in/link").symlink_to(place / "elsewhere")
    assert shape(find_sets(["in"], Path("out"))) == {"": ["out/a.png"], "link": ["out/link/b.png"]}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folders_are_told(place: Path) -> None:
    make("in/a.jpg")
    Path("in").chmod(0)
    assert "cannot be read" in faults("in")[0]


def bad_and_good() -> list[PhotoSet]:
    make("in/a.jpg", "in/b.jpg", "bad/c.jpg", "in/d.jpg")
    Path("in/b.jpg").write_bytes(b"")
    Path("bad/c.jpg").write_bytes(b"no photo")
    Path("in/d.jpg").write_bytes(Path("in/d.jpg").read_bytes()[:300])
    return find_sets(["in", "bad"], Path("out"))


def test_load_all_tells_all_faults_together(place: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_all(bad_and_good(), skip_bad=False)
    assert [Path(sentence.split()[0]).name for sentence in caught.value.sentences] == [
        "c.jpg",
        "b.jpg",
        "d.jpg",
    ]


def test_load_all_skips_the_bad_when_told(place: Path) -> None:
    good, skipped = load_all(bad_and_good(), skip_bad=True)
    assert good == [PhotoSet("in", (place / "in/a.jpg",), (place / "out/in/a.png",))]
    assert len(skipped) == 3 and "empty" in skipped[1]
    assert all(sentence.startswith(f"Skipped: {place}") for sentence in skipped)


def test_load_all_passes_good_sets_through(place: Path) -> None:
    make("in/a.jpg", "in/sub/b.jpg")
    sets = find_sets(["in"], Path("out"))
    good, skipped = load_all(sets, skip_bad=False)
    assert good == sets and not skipped
    assert [s.digests for s in good] == [(load_photo(s.files[0]).digest,) for s in sets]


def test_load_all_never_leaves_nothing(place: Path) -> None:
    Path("a.png").write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        load_all(find_sets(["a.png"], Path("out")), skip_bad=True)


def test_load_all_knows_what_the_output_cannot_hold(place: Path) -> None:
    Image.new("RGBA", (70, 70), (1, 2, 3, 4)).save("a.png")
    with pytest.raises(UserError, match="transparent parts"):
        load_all(find_sets(["a.png"], Path("out"), suffix=".jpg"), skip_bad=False)
