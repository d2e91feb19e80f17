"use strict";
// Draws the charts of a page with plotly.js: when they come near, in the colors that the reader
// prefers, and all of them before the page is printed. The figures are JSON beside their places.
(function () {
  var theme = JSON.parse(document.getElementById("chart-theme").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var paper = window.matchMedia("print");
  var mouse = window.matchMedia("(hover: hover)");
  var plots = Array.from(document.querySelectorAll(".plot"));
  var drawn = new Set(), printing = false;
  var WIDTH = 660; // pixels of a chart on A4
  var NARROW = 480; // pixels below which labels within a plot are left out

  function themed(value) {
    if (typeof value === "string") return theme.dark[value] || value;
    if (Array.isArray(value)) return value.map(themed);
    if (value === null || typeof value !== "object") return value;
    var copy = {};
    Object.keys(value).forEach(function (key) { copy[key] = themed(value[key]); });
    return copy;
  }
  function source(plot) {
    var script = plot.nextElementSibling;
    while (script.tagName !== "SCRIPT") script = script.nextElementSibling;
    return script;
  }
  function groupOf(trace) { return trace.legendgroup || trace.name || ""; }
  function plain(text) {
    return text.replace(/<br>/g, "\n").replace(/&lt;/g, "<").replace(/&#36;/g, "$").replace(/&amp;/g, "&");
  }
  function figureOf(plot) {
    var figure = JSON.parse(source(plot).textContent), layout = figure.layout;
    layout.template = theme.template;
    if (dark.matches && !paper.matches && !printing) {
      figure = themed(figure);
      layout = figure.layout;
      layout.template = themed(theme.template);
    }
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.showlegend = false; // its place take buttons, which the keyboard reaches
    layout.dragmode = mouse.matches ? "zoom" : false; // a finger scrolls the page
    layout.uirevision = plot.dataset.revision || "0";
    layout.width = plot.clientWidth;
    if (printing) layout.width = plot.closest(".multiples") ? WIDTH / 2 - 20 : WIDTH;
    figure.data.forEach(function (trace) {
      if (plot.off.has(groupOf(trace))) trace.visible = false;
      if (layout.width < NARROW && trace.mode === "markers+text") trace.mode = "markers";
    });
    return figure;
  }
  function draw(plot) {
    if (!plot.clientWidth && !printing) return;
    var figure = figureOf(plot), first = !drawn.has(plot);
    drawn.add(plot);
    plot.seen = figure.data;
    plot.width = figure.layout.width;
    var config = { displayModeBar: false, doubleClick: "reset", showTips: false };
    window.Plotly.react(plot, figure.data, figure.layout, config);
    if (first) {
      plot.on("plotly_relayout", function (change) {
        var keys = Object.keys(change);
        if (keys.some(function (key) { return /range/.test(key); })) plot.reset.hidden = false;
      });
      plot.on("plotly_doubleclick", function () { plot.reset.hidden = true; });
    }
  }

  function element(tag, name, parent) {
    var made = document.createElement(tag);
    made.className = name;
    parent.appendChild(made);
    return made;
  }
  function sample(trace, parent) {
    var mark = element("span", "sample", parent), line = trace.line || {}, marker = trace.marker || {};
    mark.setAttribute("aria-hidden", "true");
    function color(value) { return "var(--" + nameOf[value].replace("_", "-") + ")"; }
    if (trace.fill) {
      mark.classList.add("area");
      mark.style.background = color(trace.fillcolor);
    } else if ((trace.mode || "").indexOf("lines") === 0) {
      mark.innerHTML = '<svg><path d="M0 4H36"></path></svg>';
      var stroke = mark.querySelector("path");
      stroke.style.stroke = color(line.color);
      stroke.style.strokeWidth = line.width || 2;
      if (/px/.test(line.dash)) stroke.style.strokeDasharray = line.dash;
      mark.classList.add("line");
    } else {
      mark.classList.add("dot");
      mark.style.background = color(marker.color);
      if (marker.line && marker.line.color) mark.style.border = "2px solid " + color(marker.line.color);
    }
    mark.style.opacity = trace.opacity === undefined ? 1 : trace.opacity;
  }
  // Buttons take their colors from the style, so that they follow the scheme by themselves.
  var nameOf = {};
  Object.keys(theme.names).forEach(function (name) { nameOf[theme.names[name]] = name; });

  function legend(plot, figure) {
    var row = document.createElement("div"), groups = [];
    row.className = "legend";
    plot.after(row);
    figure.data.forEach(function (trace) {
      if (!trace.name || trace.showlegend === false) return;
      if (groups.indexOf(groupOf(trace)) < 0) groups.push(groupOf(trace));
    });
    if ((figure.layout.legend || {}).traceorder === "reversed") groups.reverse();
    if (figure.layout.showlegend !== false) {
      groups.forEach(function (group) {
        var button = element("button", "series", row);
        var trace = figure.data.find(function (one) {
          return groupOf(one) === group && one.showlegend !== false;
        });
        button.type = "button";
        button.setAttribute("aria-pressed", "true");
        sample(trace, button);
        button.appendChild(document.createTextNode(plain(trace.name)));
        button.addEventListener("click", function () {
          var off = plot.off.delete(group) ? false : plot.off.add(group) && true;
          button.setAttribute("aria-pressed", String(!off));
          draw(plot);
        });
      });
    }
    plot.reset = element("button", "reset", row);
    plot.reset.type = "button";
    plot.reset.hidden = true;
    plot.reset.textContent = "Reset zoom";
    plot.reset.addEventListener("click", function () {
      plot.dataset.revision = String(Number(plot.dataset.revision || 0) + 1);
      plot.reset.hidden = true;
      draw(plot);
      plot.focus();
    });
  }

  // The arrow keys step through the marks of a chart and say what each one shows.
  function marks(plot) {
    var all = [];
    (plot.seen || []).forEach(function (trace, curve) {
      if (trace.visible === false || !trace.hovertext) return;
      trace.hovertext.forEach(function (text, index) {
        if (Array.isArray(text)) {
          text.forEach(function (inner) { if (inner) all.push({ text: inner }); });
        } else if (text && text !== trace.hovertext[index - 1] && trace.y[index] !== null) {
          all.push({ text: text, at: { curveNumber: curve, pointNumber: index } });
        }
      });
    });
    return all;
  }
  function step(plot, by) {
    var all = marks(plot);
    if (!all.length) return;
    plot.at = plot.at === undefined ? (by > 0 ? 0 : all.length - 1) : (plot.at + by + all.length) % all.length;
    var mark = all[plot.at];
    if (mark.at) window.Plotly.Fx.hover(plot, [mark.at]);
    status.textContent = plain(mark.text);
  }
  var status = element("p", "unseen", document.body);
  status.setAttribute("role", "status");

  plots.forEach(function (plot) {
    var figure = JSON.parse(source(plot).textContent);
    plot.off = new Set();
    plot.closest("figure").hidden = false;
    plot.style.height = figure.layout.height + "px"; // so that nothing moves when it is drawn
    legend(plot, figure);
    plot.addEventListener("keydown", function (event) {
      if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
        draw(plot);
        step(plot, event.key === "ArrowRight" ? 1 : -1);
        event.preventDefault();
      } else if (event.key === "Escape") {
        plot.at = undefined;
        status.textContent = "";
        window.Plotly.Fx.unhover(plot);
      }
    });
    plot.addEventListener("blur", function () {
      if (plot.at !== undefined) window.Plotly.Fx.unhover(plot);
      plot.at = undefined;
    });
  });
  var caption = plots[0].closest("figure").querySelector("figcaption");
  element("span", "hint", caption).textContent = mouse.matches
    ? "In all charts: point at a mark, or step through marks with the arrow keys, for its exact values; drag to zoom; the legend switches series."
    : "In all charts: touch a mark for its exact values; the legend switches series.";

  var near = new IntersectionObserver(function (entries) {
    entries.forEach(function (entry) {
      if (!entry.isIntersecting) return;
      near.unobserve(entry.target);
      draw(entry.target);
    });
  }, { rootMargin: "600px 0px" });
  plots.forEach(function (plot) { near.observe(plot); });

  function redraw() { drawn.forEach(draw); }
  dark.addEventListener("change", redraw);
  paper.addEventListener("change", function () { if (!printing) redraw(); });
  window.addEventListener("resize", function () {
    drawn.forEach(function (plot) {
      if (plot.clientWidth && plot.clientWidth !== plot.width) draw(plot);
    });
  });
  window.addEventListener("beforeprint", function () {
    printing = true;
    plots.forEach(draw);
  });
  window.addEventListener("afterprint", function () {
    printing = false;
    redraw();
  });
})();
