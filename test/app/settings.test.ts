import assert from 'node:assert/strict'
import { beatMs, endpointsFile, eventPorts, indexBytes } from '../../src/app/settings.ts'
import { type CheckedConfig, parseConfig } from '../../src/config/parse.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

/** A configuration of these entries of `plugins`. */
const config = (...entries: readonly string[]): CheckedConfig =>
  parseConfig(
    ['plugins:', ...entries.map((entry) => `  - ${entry}`), '  - type: queue-scorer'].join('\n'),
    'p.yaml',
    builtinPlugins,
  )
const SCORER = 'precise-prefix-cache-scorer'
const PRODUCER = 'precise-prefix-cache-producer'
const precise = (type: string, events: string) =>
  `{ type: ${type}, parameters: { kvEventsConfig: ${events} } }`

describe('eventPorts', () => {
  const BOUND = 'tcp://*:5557'
  for (const [what, entries, bind, dialPort, replayPort] of [
    ['nothing without a plugin that uses events', ['type: prefix-cache-scorer'], ...[]],
    ['the usual address for a scorer', [`type: ${SCORER}`], BOUND],
    ['the usual address for cost-scorer', ['type: cost-scorer'], BOUND],
    ['the usual port of endpoints for a producer', [`type: ${PRODUCER}`], undefined, 5557],
    [
      'the usual port of endpoints for a producer beside cost-scorer',
      ['type: cost-scorer', `type: ${PRODUCER}`],
      ...[undefined, 5557],
    ],
    [
      'the same for the scorer that names the producer',
      [
        `type: ${PRODUCER}`,
        `{ type: prefix-cache-scorer, parameters: { prefixMatchInfoProducerName: ${PRODUCER} } }`,
      ],
      ...[undefined, 5557],
    ],
    [
      'an address, where a producer has one besides',
      [precise(PRODUCER, '{ zmqEndpoint: "tcp://*:6000" }')],
      ...['tcp://*:6000', 5557],
    ],
    [
      'an address alone, where a producer is not to dial',
      [precise(PRODUCER, '{ zmqEndpoint: "tcp://*:6000", discoverPods: false }')],
      'tcp://*:6000',
    ],
    [
      'ports of endpoints, and where they are asked again',
      [
        precise(
          SCORER,
          '{ zmqEndpoint: "", discoverPods: true, podDiscoveryConfig: { socketPort: 5556, replaySocketPort: 5560 } }',
        ),
      ],
      ...[undefined, 5556, 5560],
    ],
    [
      'no replay for port 0',
      [precise(SCORER, '{ discoverPods: false, podDiscoveryConfig: { replaySocketPort: 0 } }')],
      BOUND,
    ],
  ] as const) {
    it(`gives ${what}`, () => {
      const ports = eventPorts({}, config(...entries))
      assert.deepEqual([ports.bind, ports.dialPort, ports.replayPort], [bind, dialPort, replayPort])
    })
  }

  it('yields to flags', () => {
    const ports = eventPorts({ dialPort: 7000 }, config(`type: ${PRODUCER}`))
    assert.deepEqual([ports.bind, ports.dialPort], [undefined, 7000])
  })
})

describe('what describes the index of what engines hold', () => {
  const index = (type: string, fields: string) =>
    `{ type: ${type}, parameters: { indexerConfig: { kvBlockIndexConfig: ${fields} } } }`
  for (const type of [SCORER, PRODUCER]) {
    it(`is ${type}`, () => {
      const sized = config(index(type, '{ costAwareMemoryConfig: { size: 3GiB } }'))
      assert.equal(indexBytes(sized), 3 * 2 ** 30)
      assert.equal(beatMs(config(index(type, '{ metricsLoggingInterval: 60000000000 }'))), 60_000)
      assert.equal(beatMs(config(index(type, '{ metricsLoggingInterval: 30s }'))), 30_000)
      assert.equal(beatMs(config(index(type, '{ enableMetrics: false }'))), undefined)
    })
  }

  it('has its defaults where neither is there, and no beat where nothing uses events', () => {
    assert.equal(indexBytes(config()), 2 ** 30)
    assert.equal(beatMs(config('type: cost-scorer')), 60_000)
    assert.equal(beatMs(config('type: lora-affinity-scorer')), undefined)
  })
})

describe('endpointsFile', () => {
  it('is the path of file-discovery', () => {
    const text = '{ type: file-discovery, parameters: { path: fleet/endpoints.yaml } }'
    assert.equal(endpointsFile(config(text)), 'fleet/endpoints.yaml')
    assert.equal(endpointsFile(config()), undefined)
  })
})
