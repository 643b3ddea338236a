/**
 * Hands lines on together, at the end of the event loop's turn: one system call for many. What is held when the process
 * ends is written then.
 */
export function turnWriter(write: (text: string) => void): (line: string) => void {
  let held = ''
  const flush = () => {
    const text = held
    held = ''
    if (text !== '') write(text)
  }
  process.on('exit', flush)
  return (line) => {
    if (held === '') setImmediate(flush)
    held += line
  }
}
