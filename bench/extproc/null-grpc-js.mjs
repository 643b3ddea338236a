// A picker that does nothing, on @grpc/grpc-js and @grpc/proto-loader: it names a constant destination and returns every
// byte. Usage: node null-grpc-js.mjs PORT HOST:PORT
import { Server, ServerCredentials, loadPackageDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const [port, destination] = process.argv.slice(2)
const proto = new URL('../../schemas/proto/ext_proc.proto', import.meta.url).pathname
const definition = loadSync(proto, { oneofs: true, bytes: Buffer, longs: Number })
const { service } = loadPackageDefinition(definition).envoy.service.ext_proc.v3.ExternalProcessor

const EMPTY = Buffer.alloc(0)
const header = { key: 'x-gateway-destination-endpoint', rawValue: Buffer.from(destination) }
const ROUTED = {
  requestHeaders: {
    response: { headerMutation: { setHeaders: [{ header }] }, clearRouteCache: true },
  },
}

const streamed = (body, endOfStream) => ({
  response: { bodyMutation: { streamedResponse: { body: body ?? EMPTY, endOfStream } } },
})

function Process(call) {
  const pieces = []
  call.on('data', (message) => {
    if (message.request === 'requestBody') {
      pieces.push(message.requestBody.body)
      if (!message.requestBody.endOfStream) return
      call.write(ROUTED)
      pieces.forEach((piece, i) => {
        call.write({ requestBody: streamed(piece, i === pieces.length - 1) })
      })
    } else if (message.request === 'responseHeaders') {
      call.write({ responseHeaders: { response: {} } })
    } else if (message.request === 'responseBody') {
      const { body, endOfStream } = message.responseBody
      call.write({ responseBody: streamed(body, endOfStream) })
    }
  })
  call.on('end', () => call.end())
  call.on('error', (error) => console.error(error.message))
}

const server = new Server({
  'grpc.max_concurrent_streams': 10_000,
  'grpc.max_receive_message_length': -1,
})
server.addService(service, { Process })
server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
  if (error) throw error
  console.log(`listening on ${bound}`)
})
