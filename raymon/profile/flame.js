// A click on a frame of a flame graph enlarges it to the whole width; Escape shows the whole again.
for (const flame of document.querySelectorAll(".flame")) {
  const frames = [...flame.querySelectorAll("button")];
  const show = (chosen) => {
    const left = chosen ? +chosen.dataset.x : 0, width = chosen ? +chosen.dataset.w : 1;
    for (const frame of frames) {
      const x = (+frame.dataset.x - left) / width, w = +frame.dataset.w / width;
      const around = x <= 1e-6 && x + w >= 1 - 1e-6;
      frame.hidden = x + w <= 1e-6 || x >= 1 - 1e-6;
      frame.style.left = (around ? 0 : x * 100) + "%";
      frame.style.width = (around ? 100 : w * 100) + "%";
    }
  };
  flame.addEventListener("click", (event) => show(event.target.closest("button")));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });
}
