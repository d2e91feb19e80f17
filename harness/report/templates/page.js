"use strict";
// Sorting, filtering and copying; the page says everything without it.
(function () {
  function keyOf(cell) {
    return cell.dataset.key !== undefined ? cell.dataset.key : cell.textContent.trim();
  }
  function compare(a, b) {
    if (a === "" || b === "") return (a === "") - (b === "");
    var x = Number(a), y = Number(b);
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
  }
  function sortBy(table, heading, index) {
    var down = heading.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach(function (one) {
      one.removeAttribute("aria-sort");
    });
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    var body = table.tBodies[0];
    Array.from(body.rows)
      .map(function (row) { return [keyOf(row.cells[index]), row]; })
      .sort(function (one, two) {
        var order = compare(one[0], two[0]);
        // Rows without a value stay last, whichever way the others run.
        return one[0] === "" || two[0] === "" ? order : down ? -order : order;
      })
      .forEach(function (pair) { body.appendChild(pair[1]); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (heading, index) {
      var button = heading.querySelector("button");
      if (!button) return;
      button.disabled = false;
      button.addEventListener("click", function () { sortBy(table, heading, index); });
    });
  });

  var filter = document.getElementById("stage-filter");
  var trials = document.getElementById("all-trials");
  if (filter && trials) {
    document.getElementById("trial-filter").hidden = false;
    filter.addEventListener("change", function () {
      var shown = 0;
      Array.from(trials.tBodies[0].rows).forEach(function (row) {
        row.hidden = filter.value !== "" && row.dataset.stage !== filter.value;
        if (!row.hidden) shown += 1;
      });
      document.getElementById("stage-count").textContent = shown + " shown.";
    });
  }

  // What is folded away on the screen is printed too, and folded away again.
  var folded = [];
  window.addEventListener("beforeprint", function () {
    folded = folded.concat(Array.from(document.querySelectorAll("details:not([open])")));
    folded.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    folded.forEach(function (one) { one.open = false; });
    folded = [];
  });

  function select(node) {
    var range = document.createRange();
    range.selectNodeContents(node);
    var selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }
  document.querySelectorAll("button.copy").forEach(function (button) {
    button.hidden = false;
    var node = document.getElementById(button.dataset.from);
    function say(word) {
      button.textContent = word;
      window.setTimeout(function () { button.textContent = "Copy"; }, 1500);
    }
    button.addEventListener("click", function () {
      function byHand() {
        select(node);
        say(document.execCommand("copy") ? "Copied" : "Selected");
      }
      if (navigator.clipboard) {
        navigator.clipboard.writeText(node.textContent).then(function () { say("Copied"); }, byHand);
      } else {
        byHand();
      }
    });
  });
})();
