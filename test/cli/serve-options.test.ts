import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { serveFlags } from '../../src/cli/serve-flags.ts'
import { DEFAULT_LIMITS } from '../../src/framework/limits.ts'
import { served } from './serve.ts'

describe('serveOptions', () => {
  it('has nothing but defaults without flags', () => {
    assert.deepEqual(served(['serve']), {
      grpcPort: 9002,
      grpcHealthPort: 9003,
      metricsPort: 9090,
      secureServing: true,
      enableCertReload: false,
      refreshMetricsInterval: 200,
      modelServerMetrics: { path: '/metrics', scheme: 'http', insecureSkipVerify: true, names: {} },
      requestTimeout: 3_600_000,
      drainTimeout: 30_000,
      maxBodyMib: 64,
      maxBufferedMib: 1024,
      limits: DEFAULT_LIMITS,
      requestLog: 'on',
      endpoints: [],
      logLevel: 'info',
      logFormat: 'text',
      adminToken: undefined,
      subsetHints: true,
      flagWarnings: [],
    })
  })

  it("hands this picker's own flags on", () => {
    const options = served([
      ...['--endpoint', 'a:1', 'b:2', '--endpoint', 'c:3', '--kv-events-bind'],
      ...['--kv-events-dial', '6000', '--tokenizers-dir', '/t', '--strict', '--seed', '7'],
    ])
    assert.deepEqual(options.endpoints, ['a:1', 'b:2', 'c:3'])
    assert.deepEqual(
      [options.kvEventsBind, options.kvEventsDial, options.tokenizersDir],
      ['tcp://*:5557', 6000, '/t'],
    )
    assert.deepEqual([options.strict, options.seed], [true, 7])
    assert.equal(served(['--kv-events-dial']).kvEventsDial, 5557)
    assert.equal(served(['--strict=false']).strict, false)
  })

  it('gives every limit its flag, in the units of the flag', () => {
    const { limits, maxBodyMib, maxBufferedMib } = served([
      ...['--max-body-mib', '1', '--max-buffered-mib', '2', '--max-header-kib', '3'],
      ...['--max-requests', '4', '--max-connections', '5', '--max-json-values', '100'],
      ...['--max-messages', '6', '--max-prompt-chars', '7', '--max-event-mib', '8'],
      ...['--max-events-per-second', '9', '--max-endpoints', '10', '--max-label-values', '11'],
      ...['--max-json-depth', '12'],
    ])
    assert.deepEqual([maxBodyMib, maxBufferedMib], [1, 2])
    assert.deepEqual(limits, {
      maxHeaderBytes: 3 * 1024,
      maxRequests: 4,
      maxConnections: 5,
      maxJsonContainers: 7,
      maxJsonValues: 100,
      maxJsonDepth: 12,
      maxMessages: 6,
      maxPromptChars: 7,
      maxEventBytes: 8 * 1024 * 1024,
      maxEventsPerSecond: 9,
      maxEndpoints: 10,
      maxLabelValues: 11,
    })
  })

  it('names pools with and without a namespace, each once', () => {
    const pools = (args: readonly string[], environment = {}) =>
      served(args, environment).kubernetes?.pools?.map((pool) => `${pool.namespace}/${pool.name}`)
    const several = ['--pool-name', 'a', '--pool-name=other/b,c', '-poolName', 'default/a']
    assert.deepEqual(pools(several), ['default/a', 'other/b', 'default/c'])
    assert.deepEqual(pools(several, { NAMESPACE: 'own' }), [
      'own/a',
      'other/b',
      'own/c',
      'default/a',
    ])
    assert.deepEqual(pools([...several, '--pool-namespace', 'x'], { NAMESPACE: 'own' }), [
      ...['x/a', 'other/b', 'x/c', 'default/a'],
    ])
    assert.deepEqual(pools(['--pool-name', 'a'], { NAMESPACE: '' }), ['default/a'])
  })

  it('selects pools by labels, and elects a leader with a Lease of its own', () => {
    const options = served([
      ...['--pool-selector', 'team=a', '--kubeconfig', '/k', '--ha-enable-leader-election=true'],
      ...['--ha-lease-name', 'l', '--ha-lease-namespace', 'n', '--ha-lease-duration', '3s'],
    ])
    assert.deepEqual(options.kubernetes, {
      namespace: 'default',
      poolSelector: 'team=a',
      kubeconfig: '/k',
      leaderElection: { leaseName: 'l', leaseNamespace: 'n', leaseDurationMs: 3000 },
    })
    assert.deepEqual(options.flagWarnings, [])
  })

  it('takes the names of other metrics, a port, a path and TLS of model servers', () => {
    const { modelServerMetrics } = served([
      ...['--model-server-metrics-port', '9400', '--model-server-metrics-path', '/m'],
      ...['--model-server-metrics-scheme=https'],
      ...['--model-server-metrics-https-insecure-skip-verify=false'],
      ...['--total-running-requests-metric', 'r{a="b"}', '--cache-info-metric', 'c'],
    ])
    assert.deepEqual(modelServerMetrics, {
      port: 9400,
      path: '/m',
      scheme: 'https',
      insecureSkipVerify: false,
      names: { running: { name: 'r', labels: { a: 'b' } }, cacheConfig: { name: 'c', labels: {} } },
    })
    assert.equal(served(['-modelServerMetricsPort', '0']).modelServerMetrics.port, undefined)
  })

  for (const [args, level] of [
    [['-v', '3'], 'info'],
    [['-v=4'], 'debug'],
    [['-v', '5', '--zap-log-level', 'error'], 'error'],
    [['--zap-log-level=debug'], 'debug'],
    [['--zap-log-level', '3'], 'info'],
    [['--zap-log-level', '5'], 'debug'],
    [['--zap-log-level', 'panic'], 'error'],
  ] as const) {
    it(`logs ${level} with ${args.join(' ')}`, () => assert.equal(served(args).logLevel, level))
  }

  it('prefers its own --log-format', () => {
    assert.equal(served(['--zap-encoder=console']).logFormat, 'text')
    assert.equal(served(['--zap-encoder=json']).logFormat, 'json')
    assert.equal(served(['--zap-encoder=json', '--log-format', 'text']).logFormat, 'text')
  })

  for (const [text, ms] of [
    ['0', 0],
    ['50ms', 50],
    ['250us', 0.25],
    ['5s', 5000],
    ['1.5h', 5_400_000],
    ['1m30s', 90_000],
    ['2m0.5s', 120_500],
  ] as const) {
    it(`reads Go's duration ${text}`, () => {
      assert.equal(served(['--drain-timeout', text]).drainTimeout, ms)
    })
  }

  const contradictions: readonly (readonly [readonly string[], RegExp])[] = [
    [
      ['--config-file', 'a', '--config-text', 'b'],
      /--config-file and --config-text are both given/,
    ],
    [
      ['--pool-name', 'a', '--pool-selector', 'b'],
      /--pool-name and --pool-selector are both given/,
    ],
    [
      ['--pool-name', 'a', '--endpoint-selector', 'b', '--endpoint-target-ports', '1'],
      /--pool-name and --endpoint-selector are both given/,
    ],
    [
      ['--pool-selector', 'a', '--endpoint-selector', 'b', '--endpoint-target-ports', '1'],
      /--pool-selector and --endpoint-selector are both given/,
    ],
    [['--endpoint-selector', 'a=b'], /--endpoint-selector "a=b" needs --endpoint-target-ports/],
    [['--endpoint-target-ports', '8000'], /needs --endpoint-selector/],
  ]
  for (const [args, message] of contradictions) {
    it(`refuses ${args.join(' ')}`, () => {
      assert.throws(() => served(args), { code: 'CONFIG_INVALID', message })
    })
  }

  it('says all contradictions at once', () => {
    const args = ['--config-file=a', '--config-text=b', '--pool-name=a', '--endpoint-selector=c']
    assert.throws(
      () => served(args),
      ({ message }: Error) => message.split('\n').length === 3,
    )
  })

  it('takes an empty text for no value, as Go does', () => {
    const options = served([
      ...['-configFile', '', '--config-text=x', '--pool-name', 'a', '--endpoint-selector='],
      ...['--pool-group', '', '--cert-path=', '-modelServerMetricsPath', ''],
      ...['-totalQueuedRequestsMetric', ''],
    ])
    assert.deepEqual([options.configFile, options.certPath], [undefined, undefined])
    assert.deepEqual(options.kubernetes?.pools?.length, 1)
    assert.deepEqual(options.modelServerMetrics.names, {})
    assert.equal(options.modelServerMetrics.path, '/metrics')
  })

  const refused: readonly (readonly [readonly string[], RegExp])[] = [
    [['-poolNmae', 'x'], /unknown option '--pool-nmae'\n\(Did you mean --pool-name\?\)/],
    [['--endpoint-selektor=x'], /Did you mean --endpoint-selector\?/],
    [['extra'], /not serve but extra/],
    [['serve', 'extra'], /too many arguments/],
    [['--pool-name', 'A_b'], /"A_b" does not name an InferencePool; write NAME or NAMESPACE\/NAME/],
    [['--pool-name', 'a/b/c'], /"a\/b\/c" does not name an InferencePool/],
    [['--pool-name', ''], /"" does not name an InferencePool/],
    [['--endpoint-target-ports', '1,2,3,4,5,6,7,8,9'], /9 ports are more than the 8/],
    [['--endpoint-target-ports', '0'], /"0" is not a port/],
    [['--endpoint-target-ports', '80x'], /"80x" is not a port/],
    [['--pool-group', 'apps'], /"apps" is no API group of InferencePool; give inference\.net/],
    [['--grpc-port', ''], /"" is not a port/],
    [['--grpc-port', '70000'], /"70000" is not a port/],
    [['--drain-timeout', '5'], /"5" is not a duration; write a number and ms, s, m or h/],
    [['--drain-timeout', '-5s'], /"-5s" is not a duration/],
    [['--secure-serving=maybe'], /"maybe" is neither true nor false/],
    [['-v', 'high'], /"high" is not a verbosity/],
    [['--zap-log-level', 'loud'], /"loud" is none of debug, info, error, panic/],
    [['--model-server-metrics-path', 'metrics'], /"metrics" is not a path; it must begin/],
    [['--model-server-metrics-scheme', 'ftp'], /Allowed choices are http, https/],
    [['--total-queued-requests-metric', 'a{'], /"a\{" is not a metric; write NAME or NAME\{/],
    [['-grpcPort'], /argument missing/],
  ]
  for (const [args, message] of refused) {
    it(`refuses ${args.join(' ')}`, () => assert.throws(() => served(args), { message }))
  }

  for (const [args, needs] of [
    [['--kubeconfig', '/k'], 'kubeconfig'],
    [['--pool-namespace', 'n'], 'pool-namespace'],
    [['--pool-group', 'inference.networking.k8s.io'], 'pool-group'],
    [['--ha-enable-leader-election'], 'ha-enable-leader-election'],
  ] as const) {
    it(`warns that ${args.join(' ')} has no effect without a pool`, () => {
      const { flagWarnings, kubernetes } = served(args)
      assert.equal(kubernetes, undefined)
      assert.deepEqual(flagWarnings, [
        `--${needs} has no effect without --pool-name, --pool-selector or --endpoint-selector`,
      ])
    })
  }

  it('warns of --enable-cert-reload without a certificate', () => {
    assert.deepEqual(served(['--enable-cert-reload']).flagWarnings, [
      '--enable-cert-reload has no effect without --cert-path',
    ])
  })

  it('warns of names of the destination that the gateway would wait for in vain', () => {
    const hints = ['-destinationEndpointHintKey', '-DestinationEndpointHintMetadataNamespace']
    const given = (...values: string[]) => served(values.flatMap((each, i) => [hints[i]!, each]))
    assert.deepEqual(given('x-gateway-destination-endpoint', 'envoy.lb').flagWarnings, [])
    assert.equal(given('x-other', 'other').flagWarnings.length, 2)
  })

  it('hides what has no effect from --help, and docs/configuration.md names every flag', () => {
    const page = readFileSync('docs/configuration.md', 'utf8')
    for (const { long, hidden, description } of serveFlags()) {
      if (description.startsWith('no effect')) assert.ok(hidden, long)
      assert.ok(page.includes(`\`${long}`), `${long} is not in docs/configuration.md`)
    }
  })
})
