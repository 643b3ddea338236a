import { Charts } from './charts.js'
import { Configuration } from './configuration.js'
import { Decisions } from './decisions.js'
import { Detail } from './detail.js'
import { byId, setAttribute, setText } from './elements.js'
import { Endpoints } from './endpoints.js'
import { Figures } from './figures.js'
import { time } from './format.js'
import { Health } from './health.js'
import { keepToken, Poll } from './poll.js'
import { startTheme } from './theme.js'
import { Timeline } from './timeline.js'

const main = byId('main', HTMLElement)
const connection = byId('connection', HTMLElement)
const token = byId('token', HTMLFormElement)
const tokenValue = byId('token-value', HTMLInputElement)
const pause = byId('pause', HTMLButtonElement)

const timeline = new Timeline()
const health = new Health()
const figures = new Figures()
const charts = new Charts()
/** Names of endpoints by `host:port`. @type {ReadonlyMap<string, string>} */
let names = new Map()
const detail = new Detail((address) => names.get(address))
const endpoints = new Endpoints((address) => detail.open('endpoint', address))
const decisions = new Decisions((id) => detail.open('decision', id))
const configuration = new Configuration()
let isFirst = true

/** @param {import('./poll.js').Overview} overview */
async function show(overview) {
  timeline.add(overview)
  names = new Map(overview.endpoints.map(({ address, name }) => [address, name]))
  setText(byId('version', HTMLElement), overview.version)
  health.show(overview)
  figures.show(overview, timeline)
  endpoints.show(overview.endpoints)
  decisions.show(overview)
  charts.show(timeline, overview)
  await configuration.show(overview)
  if (!isFirst) return
  isFirst = false
  // Nothing is seen before everything has its place.
  main.classList.remove('waiting')
  void detail.follow()
}

/** @param {import('./poll.js').Connection} state */
function tell(state) {
  const { kind } = state
  if (kind === 'lost') health.lost(state.sinceMs)
  setAttribute(document.body, 'data-connection', kind)
  token.hidden = kind !== 'token'
  if (kind === 'live') setText(connection, '● live')
  else if (kind === 'lost' || kind === 'paused') {
    const since = state.sinceMs === undefined ? '' : ` since ${time(state.sinceMs)}`
    setText(
      connection,
      kind === 'paused' ? `❚❚ paused${since}` : `✕ not reached${since}: ${state.why}`,
    )
  } else setText(connection, `✕ ${state.why}`)
  if (kind === 'token') {
    const isFirstTime = tokenValue.value === ''
    setText(
      byId('token-problem', HTMLElement),
      isFirstTime ? '' : 'The picker does not take this token.',
    )
    tokenValue.focus()
  }
}

const poll = new Poll(show, tell)
token.addEventListener('submit', (event) => {
  event.preventDefault()
  keepToken(tokenValue.value)
  void poll.now()
})
pause.addEventListener('click', () => {
  poll.pause(!poll.isPaused)
  setAttribute(pause, 'aria-pressed', String(poll.isPaused))
  setText(pause, poll.isPaused ? 'Go on' : 'Pause')
})
startTheme(byId('theme', HTMLButtonElement), () => charts.redraw())
void poll.now()
