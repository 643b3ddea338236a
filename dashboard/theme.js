const KEY = 'endpoint-picker-theme'
const THEMES = ['auto', 'dark', 'light']

/**
 * The button that goes through the system's own theme, dark and light; the choice is kept in this browser.
 *
 * @param {HTMLButtonElement} button
 * @param {() => void} changed
 */
export function startTheme(button, changed) {
  /** @param {string} theme */
  const set = (theme) => {
    if (theme === 'auto') delete document.documentElement.dataset.theme
    else document.documentElement.dataset.theme = theme
    button.textContent = `Theme: ${theme}`
  }
  let theme = localStorage.getItem(KEY) ?? 'auto'
  if (!THEMES.includes(theme)) theme = 'auto'
  set(theme)
  button.addEventListener('click', () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? 'auto'
    localStorage.setItem(KEY, theme)
    set(theme)
    changed()
  })
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', changed)
}
