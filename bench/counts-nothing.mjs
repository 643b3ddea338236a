// What a server is given that is measured by itself: a log on standard error, and metrics that count nothing.

const say = (message, fields) => console.error(message, fields ?? '')
export const logger = {
  debug: () => {},
  info: say,
  warn: say,
  error: say,
  warnOnce: (_key, message, fields) => say(message, fields),
  named: () => logger,
}
const sink = { inc: () => {}, set: () => {}, observe: () => {} }
export const metrics = {
  counter: () => sink,
  gauge: () => sink,
  histogram: () => sink,
  observed: () => {},
}
