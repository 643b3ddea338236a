import assert from 'node:assert/strict'
import { goFlags } from '../../src/cli/go-flags.ts'
import { serveFlags } from '../../src/cli/serve-flags.ts'

describe('goFlags', () => {
  for (const [args, expected] of [
    [[], []],
    [['serve'], ['serve']],
    [
      ['serve', '--grpc-port', '1'],
      ['serve', '--grpc-port=1'],
    ],
    [
      ['-grpcPort', '1'],
      ['serve', '--grpc-port=1'],
    ],
    [['-grpcPort=1'], ['serve', '--grpc-port=1']],
    [['--grpcPort=1'], ['serve', '--grpc-port=1']],
    [
      ['--v', '3'],
      ['serve', '--verbosity=3'],
    ],
    [
      ['-v', '3'],
      ['serve', '--verbosity=3'],
    ],
    [['-v=4'], ['serve', '--verbosity=4']],
    [['-v4'], ['serve', '-v4']],
    // Values that look like flags, and values with an equals sign.
    [
      ['-configText', '-poolName: x', '-v', '1'],
      ['serve', '--config-text=-poolName: x', '--verbosity=1'],
    ],
    [
      ['-configText', '--', '-secureServing'],
      ['serve', '--config-text=--', '--secure-serving'],
    ],
    [['-endpointSelector=app=x,b in (c)'], ['serve', '--endpoint-selector=app=x,b in (c)']],
    [
      ['-configText', 'a\n-b'],
      ['serve', '--config-text=a\n-b'],
    ],
    [
      ['-loraInfoMetric', '', '-v', '1'],
      ['serve', '--lora-info-metric=', '--verbosity=1'],
    ],
    // Booleans.
    [
      ['-secureServing', '-v', '1'],
      ['serve', '--secure-serving', '--verbosity=1'],
    ],
    [
      ['--secure-serving', 'false'],
      ['serve', '--secure-serving=false'],
    ],
    [['--secureServing=F'], ['serve', '--secure-serving=F']],
    [
      ['--strict', 'x'],
      ['serve', '--strict', 'x'],
    ],
    // Lists and optional values, which the parser reads.
    [
      ['--endpoint', 'a:1', 'b:1', '-v', '1'],
      ['serve', '--endpoint', 'a:1', 'b:1', '--verbosity=1'],
    ],
    [
      ['--kv-events-bind', '--kv-events-dial', '1'],
      ['serve', '--kv-events-bind', '--kv-events-dial', '1'],
    ],
    // The end of flags.
    [
      ['-v', '1', '--', '-poolName'],
      ['serve', '--verbosity=1', '--', '-poolName'],
    ],
    // Unknown flags go on, so that the parser can refuse them.
    [
      ['-poolNmae', 'x'],
      ['serve', '--pool-nmae', 'x'],
    ],
    [['-x'], ['serve', '-x']],
    [['-grpcPort'], ['serve', '--grpc-port']],
    // What is not for serve.
    [['-h'], ['-h']],
    [['-help'], ['--help']],
    [['--help'], ['--help']],
    [['-V'], ['-V']],
    [
      ['serve', '-help'],
      ['serve', '--help'],
    ],
    [
      ['serve', '-h'],
      ['serve', '-h'],
    ],
    [
      ['check', '-', '--json'],
      ['check', '-', '--json'],
    ],
    [
      ['sim-engine', '-poolName', '--servedModelName'],
      ['sim-engine', '-poolName', '--servedModelName'],
    ],
    [['nonsense'], ['nonsense']],
  ] as const) {
    it(`reads ${JSON.stringify(args)}`, () => assert.deepEqual(goFlags(args), expected))
  }

  describe('takes every flag in every spelling:', () => {
    for (const option of serveFlags()) {
      const kebab = option.long!.slice(2)
      const camel = option.attributeName()
      it(`${kebab}, ${camel}`, () => {
        for (const dashes of ['-', '--']) {
          for (const name of [kebab, camel]) {
            assert.deepEqual(goFlags([`${dashes}${name}=1`]), ['serve', `--${kebab}=1`])
            const [, first, ...rest] = goFlags([`${dashes}${name}`, '1'])
            const joined = option.required && !option.variadic
            const bool = option.flags.endsWith('[bool]')
            assert.deepEqual(
              [first, ...rest],
              joined || bool ? [`--${kebab}=1`] : [`--${kebab}`, '1'],
            )
          }
        }
      })
    }

    it('there are some', () => assert.ok(serveFlags().length > 60, `${serveFlags().length}`))

    it('of GIE v0.5.1 as they are written there', () => {
      assert.deepEqual(goFlags(['-DestinationEndpointHintMetadataNamespace', 'envoy.lb']), [
        'serve',
        '--destination-endpoint-hint-metadata-namespace=envoy.lb',
      ])
      assert.deepEqual(goFlags(['--modelServerMetricsHttpsInsecureSkipVerify=true']), [
        'serve',
        '--model-server-metrics-https-insecure-skip-verify=true',
      ])
    })
  })
})
