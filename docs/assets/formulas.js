// pymdownx.arithmatex writes \(...\) in the text and \[...\] on a line of its own.
document.addEventListener('DOMContentLoaded', () => {
  for (const el of document.querySelectorAll('.arithmatex')) {
    const text = el.textContent.trim()
    katex.render(text.slice(2, -2), el, {displayMode: text.startsWith('\\['), throwOnError: false})
  }
})
