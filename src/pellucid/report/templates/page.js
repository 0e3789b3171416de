"use strict";
// Hover read-outs and the picture viewer. Without this script the page is complete.
(() => {
  const format = (v) => {
    const a = Math.abs(v);
    if (v !== 0 && (a >= 1e6 || a < 1e-3)) return v.toExponential(2);
    return v.toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false });
  };
  const axis = (text) => {
    const [start, end, low, high, log] = text.split(",").map(Number);
    return (pixel) => {
      const share = (pixel - start) / (end - start);
      return log ? low * Math.pow(high / low, share) : low + share * (high - low);
    };
  };
  const points = (d) =>
    (d.match(/-?[\d.]+,-?[\d.]+/g) || []).map((pair) => pair.split(",").map(Number));

  document.querySelectorAll(".chart svg").forEach((svg) => {
    const toX = axis(svg.dataset.x), toY = axis(svg.dataset.y);
    const lines = [...svg.querySelectorAll("path[data-name]")].map((path) => ({
      name: path.dataset.name, points: points(path.getAttribute("d")),
    }));
    if (!lines.some((line) => line.points.length)) return;
    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "line");
    cursor.setAttribute("class", "cursor");
    const readout = document.createElement("div");
    readout.className = "readout";
    readout.hidden = true;
    svg.parentNode.append(readout);
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
      const nearest = (line) => line.points.reduce((best, p) =>
        Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best);
      const hits = lines.filter((line) => line.points.length).map((line) => [line, nearest(line)]);
      const x = hits.map(([, p]) => p[0]).reduce((a, b) => Math.abs(b - at) < Math.abs(a - at) ? b : a);
      const rows = hits.filter(([, p]) => Math.abs(p[0] - x) < 12)
        .map(([line, p]) => `${line.name}: ${format(toY(p[1]))}`);
      readout.innerText = [`${svg.dataset.xLabel} ${format(toX(x))}`, ...rows].join("\n");
      for (const [name, value] of [["x1", x], ["x2", x], ["y1", 16], ["y2", svg.viewBox.baseVal.height - 40]])
        cursor.setAttribute(name, value);
      svg.append(cursor);
      readout.hidden = false;
      const left = (x / svg.viewBox.baseVal.width) * box.width;
      const flip = left > box.width / 2;
      readout.style.left = flip ? "auto" : `${left + 10}px`;
      readout.style.right = flip ? `${box.width - left + 10}px` : "auto";
      readout.style.top = `${svg.offsetTop || 30}px`;
    });
    svg.addEventListener("pointerleave", () => { readout.hidden = true; cursor.remove(); });
  });

  const viewer = document.getElementById("viewer");
  const large = viewer.querySelector("img"), tabs = viewer.querySelector(".tabs");
  const samples = [...document.querySelectorAll(".sample")].map((sample) =>
    [...sample.querySelectorAll("figure")].filter((figure) => figure.querySelector("img")));
  let row = 0, column = 0;
  const show = (r, c) => {
    row = (r + samples.length) % samples.length;
    const figures = samples[row];
    column = (c + figures.length) % figures.length;
    const image = figures[column].querySelector("img");
    large.src = image.src;
    large.alt = image.alt;
    large.className = image.className;
    tabs.replaceChildren(...figures.map((figure, k) => {
      const tab = document.createElement("button");
      tab.textContent = figure.querySelector(".heading").textContent;
      tab.className = k === column ? "here" : "";
      tab.addEventListener("click", () => show(row, k));
      return tab;
    }));
  };
  samples.forEach((figures, r) => figures.forEach((figure, c) =>
    figure.querySelector("img").addEventListener("click", () => { show(r, c); viewer.showModal(); })));
  viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
  viewer.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    show(row + move[0], column + move[1]);
  });

  const links = new Map([...document.querySelectorAll("nav a")].map((a) => [a.hash.slice(1), a]));
  const watch = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const link = links.get(entry.target.id);
    if (link) link.classList.toggle("here", entry.isIntersecting);
  }), { rootMargin: "-45% 0px -50% 0px" });
  document.querySelectorAll("main section").forEach((section) => watch.observe(section));
})();
