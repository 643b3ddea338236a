import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '@grpc/grpc-js'
import { Engine } from '../datalayer/engine.ts'
import {
  Gateway,
  requestBody,
  requestHeaders,
  responseHeaders,
  servedBy,
  setHeaders,
} from '../extproc/client.ts'
import { Envoy, envoyAvailable } from './envoy.ts'
import { Epp } from './epp.ts'

const SELECTION = 'test-epp-endpoint-selection'
const SERVED = 'x-conformance-test-served-endpoint'
const DESTINATION = 'x-gateway-destination-endpoint'
const MISSING = 'fail: missing metadata x-gateway-destination-endpoint-served in envoy.lb'
/** The conformance suite's traffic. */
const REQUESTS = 100
const CONCURRENCY = 10
const BODY = JSON.stringify({
  model: 'conformance-fake-model',
  prompt: 'Write as if you were a critic',
})
/** Addresses of pods; the first has three ports, as with data parallelism. */
const PORTS = { '127.0.33.1': 3, '127.0.33.2': 1, '127.0.33.3': 1 }
const IPV6 = '[fd00::7]:3000'

const CONFIGURATION = `schedulingProfiles:
  - name: default
    plugins:
      - { type: header-based-testing-filter }
      - { type: max-score-picker, parameters: { maxNumOfEndpoints: 2 } }
plugins:
  - { type: destination-endpoint-served-verifier }
`

interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  /** `ip:port` of the pod, and the headers that it saw. */
  readonly pod: string
  readonly seen: IncomingHttpHeaders
}

/** A pod that answers any request with what it got, as the suite's echo servers do. */
const echo = (address: string) =>
  Engine.start(address, (incoming, response) => {
    incoming.resume()
    incoming.on('end', () => {
      const { localAddress, localPort } = incoming.socket
      response.writeHead(200, { 'content-type': 'application/json', [SERVED]: 'forged by the pod' })
      response.end(JSON.stringify({ pod: `${localAddress}:${localPort}`, seen: incoming.headers }))
    })
  })

function post(url: string, selection: string | undefined): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = {
      'content-type': 'application/json',
      ...(selection !== undefined && { [SELECTION]: selection }),
    }
    const sent = request(`${url}/v1/completions`, { method: 'POST', headers }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        text += chunk
      })
      response.on('error', reject)
      response.on('end', () => {
        const body = response.statusCode === 200 ? JSON.parse(text) : {}
        resolve({ status: response.statusCode!, headers: response.headers, ...body })
      })
    })
    sent.on('error', reject)
    sent.end(BODY)
  })
}

async function traffic(url: string, selection: string): Promise<Answer[]> {
  const answers: Answer[] = []
  let left = REQUESTS
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      while (left-- > 0) answers.push(await post(url, selection))
    }),
  )
  assert.equal(answers.length, REQUESTS)
  return answers
}

describe("the Gateway API Inference Extension's conformance features, real Envoy", function () {
  this.timeout(60_000)
  const pods: Engine[] = []
  const folder = mkdtempSync(join(tmpdir(), 'epp-conformance-'))
  let gone: string
  let epp: Epp
  /** Chooses among the pods of a cluster by the picker's list, and says which it took. */
  let overriding: Envoy
  /** The shipped bootstrap, which does not say so. */
  let plain: Envoy

  before(async function () {
    if (!envoyAvailable()) return this.skip()
    for (const [address, ports] of Object.entries(PORTS)) {
      for (let i = 0; i < ports; i++) pods.push(await echo(address))
    }
    const leaving = await echo('127.0.33.9')
    gone = `${leaving.address}:${leaving.port}`
    await leaving.stop()
    const config = join(folder, 'config.yaml')
    writeFileSync(config, CONFIGURATION)
    const endpoints = [...pods.map(({ address, port }) => `${address}:${port}`), gone, IPV6]
    epp = await Epp.start([
      ...['--config-file', config],
      ...endpoints.flatMap((endpoint) => ['--endpoint', endpoint]),
    ])
    overriding = await Envoy.start(epp.ports.grpc, (document) => {
      const metadata = (name: string) => ({ key: 'envoy.lb', path: [{ key: name }] })
      const policy = (name: string, type: string, config: object) => ({
        policies: [
          {
            typed_extension_config: {
              name: `envoy.load_balancing_policies.${name}`,
              typed_config: {
                '@type': `type.googleapis.com/envoy.extensions.load_balancing_policies.${name}.v3.${type}`,
                ...config,
              },
            },
          },
        ],
      })
      const hosts = endpoints.slice(0, -1).map((endpoint) => {
        const [address, port] = endpoint.split(':')
        return { endpoint: { address: { socket_address: { address, port_value: Number(port) } } } }
      })
      document.setIn(
        ['static_resources', 'clusters', 0],
        document.createNode({
          name: 'model_servers',
          type: 'STATIC',
          connect_timeout: '5s',
          circuit_breakers: { thresholds: [{ max_retries: 1024 }] },
          load_balancing_policy: policy('override_host', 'OverrideHost', {
            override_host_sources: [{ metadata: metadata(DESTINATION) }],
            selected_host_key: metadata('x-gateway-destination-endpoint-served'),
            fallback_policy: policy('round_robin', 'RoundRobin', {}),
          }),
          load_assignment: { cluster_name: 'model_servers', endpoints: [{ lb_endpoints: hosts }] },
        }),
      )
      const manager = ['static_resources', 'listeners', 0, 'filter_chains', 0, 'filters', 0]
      const route = ['typed_config', 'route_config', 'virtual_hosts', 0, 'routes', 0, 'route']
      document.setIn(
        [...manager, ...route, 'retry_policy'],
        document.createNode({ retry_on: 'connect-failure', num_retries: 2 }),
      )
    })
    plain = await Envoy.start(epp.ports.grpc)
  })

  after(async () => {
    await overriding?.stop()
    await plain?.stop()
    await epp?.stop()
    for (const pod of pods) await pod.stop()
    rmSync(folder, { recursive: true })
  })

  const named = ({ address, port }: Engine) => `${address}:${port}`
  const reached = (answers: readonly Answer[]) => [...new Set(answers.map(({ pod }) => pod))].sort()
  const ofAddress = (address: string) =>
    pods
      .filter((pod) => pod.address === address)
      .map(named)
      .sort()

  for (const address of Object.keys(PORTS)) {
    it(`all ${REQUESTS} requests that name ${address} reach it, on every port that it has`, async () => {
      const answers = await traffic(overriding.url, address)
      assert.deepEqual(reached(answers), ofAddress(address))
      for (const { status, headers, pod, seen } of answers) {
        assert.equal(status, 200)
        assert.equal(headers[SERVED], pod, 'the endpoint that served, not what the pod says')
        assert.equal(seen[SELECTION], undefined, 'no pod sees the header')
      }
    })
  }

  it('those that name one port of a pod reach that port alone', async () => {
    for (const pod of ofAddress('127.0.33.1')) {
      const answers = await traffic(overriding.url, pod)
      assert.deepEqual(reached(answers), [pod])
      assert.deepEqual([...new Set(answers.map(({ headers }) => headers[SERVED]))], [pod])
    }
  })

  it('those that name several pods reach each of them, and no other', async () => {
    const answers = await traffic(overriding.url, '127.0.33.2, 127.0.33.3')
    assert.deepEqual(reached(answers), [...ofAddress('127.0.33.2'), ...ofAddress('127.0.33.3')])
  })

  it("those that name another pool's pods besides reach this pool's", async () => {
    const answers = await traffic(overriding.url, '10.1.2.3,127.0.33.2,10.1.2.4:3000,127.0.33.250')
    assert.deepEqual(reached(answers), ofAddress('127.0.33.2'))
  })

  for (const [what, selection] of [
    ["name another pool's pods alone", '10.1.2.3,127.0.33.2:1'],
    ['name none', undefined],
    ['name nothing that is an address', ' , x'],
  ] as const) {
    it(`a request is refused with 429 where its headers ${what}`, async () => {
      const { status, headers } = await post(overriding.url, selection)
      assert.equal(status, 429)
      assert.ok(headers['x-llm-d-request-dropped-reason'])
      assert.ok(headers['retry-after'])
      assert.equal(headers[SERVED], undefined)
    })
  }

  it('the endpoint that served is shown where the first of the list is gone', async () => {
    const [left] = ofAddress('127.0.33.2')
    const before = await epp.metric('epp_extproc_exchanges_total{outcome="routed"}')
    const answers = await traffic(overriding.url, `${gone},${left}`)
    assert.deepEqual(reached(answers), [left])
    assert.deepEqual([...new Set(answers.map(({ headers }) => headers[SERVED]))], [left])
    const { picked } = await destinations(epp)
    assert.ok(picked.has(gone), 'some were sent to the one that is gone first')
    assert.equal(
      await epp.metric('epp_extproc_exchanges_total{outcome="routed"}'),
      before! + REQUESTS,
    )
  })

  it('a gateway that does not say which endpoint served is shown as such', async () => {
    const answers = await traffic(plain.url, '127.0.33.3')
    assert.deepEqual(reached(answers), ofAddress('127.0.33.3'))
    assert.deepEqual([...new Set(answers.map(({ headers }) => headers[SERVED]))], [MISSING])
  })

  it('an IPv6 address is named in brackets, with or without its port', async () => {
    const unverified = credentials.createSsl(null, null, null, { rejectUnauthorized: false })
    const gateway = new Gateway(`localhost:${epp.ports.grpc}`, unverified)
    try {
      for (const selection of [IPV6, '[fd00::7]', 'fd00::7']) {
        const call = gateway
          .open()
          .send(requestHeaders({ [SELECTION]: selection }), requestBody(BODY, true))
        const [answer] = await call.untilEnd('requestBody')
        assert.equal(setHeaders(answer)[DESTINATION], IPV6)
        call.send({ ...responseHeaders({ ':status': '200' }, true), ...servedBy(IPV6) })
        const [headers] = await call.rest()
        assert.deepEqual(setHeaders(headers), { [SERVED]: IPV6 })
      }
    } finally {
      gateway.close()
    }
  })
})

/** The first endpoints of the decisions that the picker remembers. */
async function destinations(epp: Epp): Promise<{ readonly picked: ReadonlySet<string> }> {
  const decisions =
    await epp.json<readonly { readonly endpoints: readonly string[] }[]>('/decisions')
  return { picked: new Set(decisions.map(({ endpoints }) => endpoints[0]!)) }
}
