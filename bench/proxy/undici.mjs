// The yardstick: node:http in front, undici behind, round robin, no limits, no retries, nothing looked at.
//
//   node undici.mjs PORT FIRST_ENGINE_PORT ENGINES
import { createServer } from 'node:http'
import { Pool } from 'undici'

const [port, first, engines] = process.argv.slice(2).map(Number)
const pools = Array.from(
  { length: engines },
  (_, i) =>
    new Pool(`http://127.0.0.1:${first + i}`, {
      connections: 512,
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
    }),
)
const HOP = new Set([
  'connection',
  'expect',
  'host',
  'keep-alive',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
let turn = 0

createServer((request, response) => {
  const headers = []
  const raw = request.rawHeaders
  for (let i = 0; i < raw.length; i += 2) {
    if (!HOP.has(raw[i].toLowerCase())) headers.push(raw[i], raw[i + 1])
  }
  let controller
  pools[turn++ % engines].dispatch(
    { path: request.url, method: request.method, headers, body: request },
    {
      onRequestStart(given) {
        controller = given
      },
      onResponseStart(_, status, given) {
        delete given['transfer-encoding']
        delete given.connection
        response.writeHead(status, given)
      },
      onResponseData(given, chunk) {
        if (response.write(chunk)) return
        given.pause()
        response.once('drain', () => given.resume())
      },
      onResponseEnd() {
        response.end()
      },
      onResponseError(_, error) {
        if (response.headersSent) response.destroy()
        else response.writeHead(502).end(error.message)
      },
    },
  )
  response.on('close', () => {
    if (!response.writableFinished) controller?.abort(new Error('client gone'))
  })
}).listen(port, '127.0.0.1', 2048)
