// Labels for the cells of tables: site.css shows rows as lists on a phone, where the header is hidden.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table.docutils")) {
    const labels = [...table.querySelectorAll("thead th")].map((cell) => cell.innerText.trim());
    for (const row of table.querySelectorAll("tbody tr")) {
      [...row.cells].forEach((cell, column) => {
        if (labels[column]) cell.dataset.label = labels[column];
      });
    }
  }
});
