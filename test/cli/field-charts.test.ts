import assert from 'node:assert/strict'
import { served } from './serve.ts'

/** What charts render without being told more; flags that would warn are given by their own tests. */
const NAMED = ['-poolName', 'gaie-kv-events', '-poolNamespace', 'llm-d-precise']
const V0_5_1 = [
  ...NAMED,
  ...['--v', '3', '--grpcPort', '9002', '-grpcHealthPort', '9003', '-metricsPort', '9090'],
  ...['-configFile', 'config/default-plugins.yaml', '--enablePprof=true'],
  ...['--modelServerMetricsPath=/metrics', '--modelServerMetricsScheme=http'],
  '--modelServerMetricsHttpsInsecureSkipVerify=true',
]
const TRITON = [
  ...['-totalQueuedRequestsMetric', 'nv_trt_llm_request_metrics{request_type=waiting}'],
  '-kvCacheUsagePercentageMetric',
  'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}',
]
const POOL = { namespace: 'llm-d-precise', name: 'gaie-kv-events' }
const PPROF =
  '--enable-pprof has no effect: profile with the options of Node.js, such as --cpu-prof'
const VLLM = { path: '/metrics', scheme: 'http', insecureSkipVerify: true, names: {} }

describe("the field's charts start this picker:", () => {
  it('GIE v0.5.1', () => {
    const options = served(V0_5_1)
    assert.deepEqual(options.kubernetes, { namespace: 'llm-d-precise', pools: [POOL] })
    assert.deepEqual(options.modelServerMetrics, VLLM)
    assert.deepEqual(
      [options.grpcPort, options.grpcHealthPort, options.metricsPort, options.configFile],
      [9002, 9003, 9090, 'config/default-plugins.yaml'],
    )
    assert.deepEqual([options.logLevel, options.logFormat], ['info', 'text'])
    assert.deepEqual(options.flagWarnings, [PPROF])
  })

  it('GIE v0.5.1 with Triton', () => {
    const options = served([...V0_5_1, ...TRITON, '-loraInfoMetric', ''])
    assert.deepEqual(options.modelServerMetrics, {
      ...VLLM,
      names: {
        waiting: { name: 'nv_trt_llm_request_metrics', labels: { request_type: 'waiting' } },
        kvCacheUsage: {
          name: 'nv_trt_llm_kv_cache_block_metrics',
          labels: { kv_cache_block_type: 'fraction' },
        },
      },
    })
    assert.deepEqual(options.flagWarnings, [PPROF])
  })

  const V1_0_0 = [
    ...['--pool-name', 'gaie-kv-events', '--pool-namespace', 'llm-d-precise'],
    ...['--zap-encoder', 'json', '--config-file', '/config/default-plugins.yaml'],
  ]
  it('GIE v1.0.0', () => {
    const options = served([...V1_0_0, '--v', '4'])
    assert.deepEqual(options.kubernetes, { namespace: 'llm-d-precise', pools: [POOL] })
    assert.deepEqual([options.logLevel, options.logFormat], ['debug', 'json'])
    assert.equal(options.configFile, '/config/default-plugins.yaml')
    assert.deepEqual(options.flagWarnings, [])
  })

  it('GIE v1.0.0 with Triton', () => {
    const options = served([
      ...V1_0_0,
      ...['--total-queued-requests-metric', 'nv_trt_llm_request_metrics{request_type=waiting}'],
      '--kv-cache-usage-percentage-metric',
      'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=fraction}',
      ...['--lora-info-metric', ''],
    ])
    assert.deepEqual(Object.keys(options.modelServerMetrics.names ?? {}), [
      'waiting',
      'kvCacheUsage',
    ])
    assert.deepEqual(options.flagWarnings, [])
  })

  it('GIE v1.3.1 with replicas, tracing off and open metrics', () => {
    const options = served([
      ...V1_0_0,
      ...['--pool-group', 'inference.networking.x-k8s.io', '--ha-enable-leader-election'],
      ...['--v', '1', '--secure-serving', 'false', '--drain-timeout', '1m30s'],
      ...['--tracing=false', '--metrics-endpoint-auth=false'],
    ])
    assert.deepEqual(options.kubernetes, {
      namespace: 'llm-d-precise',
      pools: [POOL],
      group: 'inference.networking.x-k8s.io',
      leaderElection: { leaseDurationMs: 15_000 },
    })
    assert.deepEqual([options.secureServing, options.drainTimeout], [false, 90_000])
    assert.deepEqual(options.flagWarnings, [])
  })

  it('llm-d with everything that its flags can say', () => {
    const options = served(
      [
        ...['--endpoint-selector', 'app=vllm,tier in (a,b)'],
        ...['--endpoint-target-ports', '8000,8001', '--endpoint-target-ports=8000'],
        ...['--grpc-port', '9002', '--grpc-health-port=9003', '--metrics-port', '9090'],
        ...['--config-text', 'plugins: []', '--refresh-metrics-interval', '50ms'],
        ...['--metrics-staleness-threshold=2s', '--health-checking', '--tracing=true'],
        ...['--disable-endpoint-subset-filter', '--emit-endpoint-scores', '-v=5'],
        ...['--refresh-prometheus-metrics-interval', '5s', '--enable-pprof=false'],
        ...['--grpc-max-recv-msg-size', '10MiB', '--grpc-max-send-msg-size', '25MB'],
        ...['--cert-path', '/certs', '--enable-cert-reload', '--tls-min-version', 'VersionTLS13'],
        ...['--tls-cipher-suites', 'TLS_AES_128_GCM_SHA256', '--enable-grpc-stream-metrics'],
        ...['--metrics-endpoint-auth', '--metrics-client-ca-file', '/ca', '--metrics-cert-dir=/c'],
        ...['--allow-experimental-plugins', '--zap-devel', '--zap-stacktrace-level', 'error'],
        ...['--zap-time-encoding', 'epoch', '--zap-log-level', 'error'],
      ],
      { NAMESPACE: 'models' },
    )
    assert.deepEqual(options.kubernetes, {
      namespace: 'models',
      endpointSelector: 'app=vllm,tier in (a,b)',
      endpointTargetPorts: [8000, 8001],
    })
    assert.deepEqual(
      [options.refreshMetricsInterval, options.metricsStalenessMs, options.subsetHints],
      [50, 2000, false],
    )
    assert.deepEqual([options.certPath, options.enableCertReload], ['/certs', true])
    assert.equal(options.logLevel, 'error')
    assert.deepEqual(
      options.flagWarnings.map((warning) => warning.split(' ')[0]),
      [
        ...['--refresh-prometheus-metrics-interval', '--grpc-max-recv-msg-size'],
        ...['--grpc-max-send-msg-size', '--tls-min-version', '--tls-cipher-suites'],
        ...['--metrics-client-ca-file', '--metrics-cert-dir', '--zap-stacktrace-level'],
        ...['--zap-time-encoding', '--zap-devel', '--emit-endpoint-scores'],
        ...['--enable-grpc-stream-metrics', '--metrics-endpoint-auth', '--tracing'],
        '--allow-experimental-plugins',
      ],
    )
    for (const warning of options.flagWarnings) assert.match(warning, /^--\S+ has no effect: \S/)
  })
})
