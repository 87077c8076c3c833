"use strict";
// a figure with a .pair of pictures, a slider and two loupes
function compare(figure) {
  const pair = figure.querySelector(".pair");
  if (!pair) return;
  const [before, after] = pair.querySelectorAll("img");
  const slider = figure.querySelector("input");
  const panel = figure.querySelector(".loupes");
  const loupes = figure.querySelectorAll(".loupe");
  const at = { x: 0.5, y: 0.5 };

  // the left of the line is before, the right of it after
  const slide = () => pair.style.setProperty("--from", 100 - slider.value + "%");
  slider.addEventListener("input", slide);
  slide();

  const missing = () => { figure.querySelector(".missing").hidden = false; };
  before.addEventListener("error", missing);
  if (before.complete && !before.naturalWidth) missing();

  // one pixel of a photo on one pixel of the screen
  const look = () => {
    panel.hidden = false;
    [before, after].forEach((photo, i) => {
      const loupe = loupes[i], scale = 1 / (window.devicePixelRatio || 1);
      const wide = photo.getAttribute("width") * scale, high = photo.getAttribute("height") * scale;
      loupe.style.backgroundImage = `url("${photo.src}")`;
      loupe.style.backgroundSize = `${wide}px ${high}px`;
      const place = (share, whole, part) =>
        whole <= part ? (part - whole) / 2 : -Math.min(Math.max(share * whole - part / 2, 0), whole - part);
      loupe.style.backgroundPosition =
        `${place(at.x, wide, loupe.clientWidth)}px ${place(at.y, high, loupe.clientHeight)}px`;
    });
  };
  pair.addEventListener("pointermove", (event) => {
    const box = pair.getBoundingClientRect();
    at.x = (event.clientX - box.left) / box.width;
    at.y = (event.clientY - box.top) / box.height;
    look();
  });
  pair.addEventListener("focus", look);
  pair.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    at.x = Math.min(1, Math.max(0, at.x + step[0] * 0.05));
    at.y = Math.min(1, Math.max(0, at.y + step[1] * 0.05));
    look();
  });
}
