// What reacts: the charts' read-out, the sorting of tables, the images behind the confusion matrix.
"use strict";

// ---------------------------------------------------------------- charts: epochs under the pointer
for (const plot of document.querySelectorAll(".plot")) {
  const data = JSON.parse(plot.dataset.chart);
  const svg = plot.querySelector("svg");
  const cross = plot.querySelector(".cross");
  const readout = plot.parentElement.querySelector(".readout");
  const last = data.x.length - 1;
  let at = last;

  const say = (i) => {
    at = Math.max(0, Math.min(last, i));
    const parts = data.lines.filter((line) => line.text[at]);
    const words = parts.map((line) => `${line.label} ${line.text[at]}`).join(" · ");
    readout.textContent = "";
    readout.append(Object.assign(document.createElement("b"), { textContent: `epoch ${at + 1}` }));
    readout.append(`: ${words}`);
    cross.setAttribute("x1", data.x[at]);
    cross.setAttribute("x2", data.x[at]);
    plot.setAttribute("aria-valuenow", at + 1);
    plot.setAttribute("aria-valuetext", `epoch ${at + 1}: ${words}`);
  };
  const show = (i) => { say(i); cross.setAttribute("visibility", "visible"); };
  const atRest = readout.textContent;
  const rest = () => {
    say(last);
    readout.textContent = atRest;
    cross.setAttribute("visibility", "hidden");
  };

  // to a screen reader it is a slider over the epochs, whose value is what the chart says there
  plot.tabIndex = 0;
  plot.setAttribute("role", "slider");
  plot.setAttribute("aria-label", svg.getAttribute("aria-label"));
  plot.setAttribute("aria-valuemin", 1);
  plot.setAttribute("aria-valuemax", last + 1);
  svg.setAttribute("aria-hidden", "true");
  rest();

  const follow = (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    let nearest = 0;
    data.x.forEach((at, i) => { if (Math.abs(at - x) < Math.abs(data.x[nearest] - x)) nearest = i; });
    show(nearest);
  };
  plot.addEventListener("pointermove", follow);
  plot.addEventListener("pointerdown", follow);
  plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") rest(); });
  plot.addEventListener("blur", rest);
  plot.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const to = { Home: 0, End: last }[event.key] ?? (event.key in step ? at + step[event.key] : null);
    if (to === null) return;
    event.preventDefault();
    show(to);
  });
}

// ------------------------------------------------------------------------- tables: sort by a column
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    if (head.tagName !== "TH") return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rising = head.getAttribute("aria-sort") === "descending" ||
        (!head.hasAttribute("aria-sort") && !head.hasAttribute("data-number"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", rising ? "ascending" : "descending");
      const value = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
      const compare = head.hasAttribute("data-number")
        ? (a, b) => Number(value(a)) - Number(value(b))
        : (a, b) => value(a).localeCompare(value(b));
      const body = table.tBodies[0];
      const known = [...body.rows].filter((row) => value(row) !== "");
      const unknown = [...body.rows].filter((row) => value(row) === "");
      known.sort((a, b) => (rising ? 1 : -1) * compare(a, b));
      body.append(...known, ...unknown);
    });
  });
}

// ------------------------------------------------------- confusion matrix: the images behind a cell
const matrix = document.querySelector(".matrix");
const source = document.getElementById("test-images");
if (matrix && source) {
  const { classes, tiles } = JSON.parse(source.textContent);
  const title = document.getElementById("pair-title");
  const note = document.getElementById("pair-note");
  const list = document.getElementById("pair-images");
  const cells = [...matrix.querySelectorAll("td[data-true]")];
  const size = classes.length;
  const percent = (p) => `${(100 * p).toFixed(1)}\u00a0%`;
  document.querySelectorAll("[data-needs-js]").forEach((part) => { part.hidden = false; });
  let pinned = null;
  let shown = null;

  const item = ([x, y, index, actual, predicted, p, pActual]) => {
    const li = document.createElement("li");
    const thumb = document.createElement("span");
    thumb.className = "thumb";
    thumb.style.setProperty("--x", x);
    thumb.style.setProperty("--y", y);
    thumb.setAttribute("role", "img");
    thumb.setAttribute("aria-label", `test image ${index}`);
    li.dataset.index = index;
    li.append(thumb, `${classes[predicted]} ${percent(p)}`, document.createElement("br"));
    const small = document.createElement("small");
    small.textContent = (actual === predicted ? "" : `${classes[actual]} ${percent(pActual)} `) +
      `#${index}`;
    li.append(small);
    return li;
  };

  const show = (cell) => {
    if (cell === shown) return;
    shown = cell;
    const [actual, predicted, count] = ["true", "predicted", "count"].map((k) => +cell.dataset[k]);
    const found = tiles.filter((tile) => tile[3] === actual && tile[4] === predicted);
    const images = count === 1 ? "1 test image" : `${count.toLocaleString("en")} test images`;
    title.textContent = actual === predicted
      ? `${images} of ${classes[actual]}, named rightly`
      : `${images} of ${classes[actual]}, taken for ${classes[predicted]}`;
    const order = actual === predicted ? "the first ones of the file" : "the most probable first";
    note.textContent = count === 0 ? "There is none." : found.length === count ? `All, ${order}.`
      : `${found.length} of them, ${order}.`;
    list.replaceChildren(...found.map(item));
    list.parentElement.scrollTop = 0;
  };
  const pin = (cell) => {
    cells.forEach((other) => { other.setAttribute("aria-selected", "false"); other.tabIndex = -1; });
    cell.setAttribute("aria-selected", "true");
    cell.tabIndex = 0;
    pinned = cell;
    show(cell);
  };

  matrix.setAttribute("role", "grid");
  matrix.querySelectorAll("tr").forEach((row) => row.setAttribute("role", "row"));
  cells.forEach((cell, i) => {
    cell.setAttribute("role", "gridcell");
    cell.addEventListener("click", () => { pin(cell); cell.focus({ preventScroll: true }); });
    cell.addEventListener("pointerenter", (e) => { if (e.pointerType === "mouse") show(cell); });
    cell.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -size, ArrowDown: size };
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        pin(cell);
      } else if (event.key in moves) {
        event.preventDefault();
        const sideways = Math.abs(moves[event.key]) === 1;
        const next = cells[i + moves[event.key]];
        if (next && (!sideways || next.parentElement === cell.parentElement)) {
          cells.forEach((other) => { other.tabIndex = -1; });
          next.tabIndex = 0;
          next.focus();
        }
      }
    });
  });
  matrix.addEventListener("pointerleave", () => show(pinned));
  // the most frequent mistake is there from the start
  const wrong = cells.filter((cell) => cell.dataset.true !== cell.dataset.predicted);
  pin(wrong.reduce((a, b) => (+b.dataset.count > +a.dataset.count ? b : a), wrong[0] ?? cells[0]));
}
