// The table can be cut down by words, by what a protection has shown, and to methods alone.
{
  const form = document.getElementById("filters");
  const rows = [...document.querySelectorAll("table.sortable tbody tr")];
  const of = (id) => document.getElementById(id);
  const show = () => {
    const words = of("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const kind = of("kind").value;
    for (const row of rows) {
      const kinds = row.dataset.kinds.split(" ");
      const named = words.every((word) => row.dataset.words.includes(word));
      const asked = !kind || kinds.includes(kind) || kinds.includes("control");
      row.hidden = !(named && asked && (of("variants").checked || !kinds.includes("variant")));
    }
    of("shown").textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
  };
  form.hidden = false;
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
  if (location.hash) document.getElementById(location.hash.slice(1))?.closest("details")?.setAttribute("open", "");
}
