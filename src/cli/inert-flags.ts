import { Option } from 'commander'

/** A flag of GIE's or llm-d's picker that is accepted and changes nothing here. */
interface InertFlag {
  /** In our spelling, without dashes. */
  readonly name: string
  /** True for a flag that may stand without a value. */
  readonly bare: boolean
  /** Values that ask for what is done anyway: they need no warning. */
  readonly fulfilled: readonly string[]
  /** What to know or to use instead. */
  readonly instead: string
}

const inert = (
  name: string,
  instead: string,
  fulfilled: readonly string[] = [''],
  bare = false,
): InertFlag => ({ name, bare, fulfilled, instead })

const switchOf = (name: string, instead: string, fulfilled = 'false'): InertFlag =>
  inert(name, instead, [fulfilled], true)

const INERT_FLAGS: readonly InertFlag[] = [
  inert(
    'destination-endpoint-hint-key',
    'the destination is always told as "x-gateway-destination-endpoint", which the gateway must read',
    ['', 'x-gateway-destination-endpoint'],
  ),
  inert(
    'destination-endpoint-hint-metadata-namespace',
    'the destination is always told in the metadata namespace "envoy.lb", which the gateway must read',
    ['', 'envoy.lb'],
  ),
  inert('refresh-prometheus-metrics-interval', 'metrics are computed whenever they are scraped'),
  inert(
    'lora-info-metric',
    "adapters are known from the model servers' /v1/models and KV events, not from a metric",
    ['', 'vllm:lora_requests_info'],
  ),
  inert('grpc-max-recv-msg-size', 'a body may have --max-body-mib MiB'),
  inert('grpc-max-send-msg-size', 'messages of any size are sent'),
  inert('tls-min-version', 'TLS 1.2 and newer are spoken', ['', '1.2', 'VersionTLS12']),
  inert('tls-cipher-suites', 'set the environment variable GRPC_SSL_CIPHER_SUITES'),
  inert('metrics-client-ca-file', 'the metrics port speaks plain HTTP; a NetworkPolicy guards it'),
  inert('metrics-cert-dir', 'the metrics port speaks plain HTTP; a NetworkPolicy guards it'),
  inert('zap-stacktrace-level', 'log lines carry no stack traces'),
  inert('zap-time-encoding', 'times are written in ISO 8601', ['', 'iso8601', 'rfc3339']),
  switchOf('zap-devel', 'choose with -v and --log-format'),
  switchOf('enable-pprof', 'profile with the options of Node.js, such as --cpu-prof'),
  switchOf('health-checking', 'health is answered on both gRPC ports in any case', 'true'),
  switchOf('emit-endpoint-scores', "every endpoint's scores are on the admin page /decisions"),
  switchOf('enable-grpc-stream-metrics', 'docs/metrics.md lists what is measured'),
  switchOf('metrics-endpoint-auth', '/metrics is open to all; a NetworkPolicy guards it'),
  switchOf('tracing', 'there are no traces; the admin page /decisions explains each pick'),
  switchOf('allow-experimental-plugins', 'every plugin may be used without it'),
]

/** Hidden options, so that an image started with them starts. */
export function inertOptions(): readonly Option[] {
  return INERT_FLAGS.map(({ name, bare, instead }) =>
    new Option(bare ? `--${name} [bool]` : `--${name} <value>`, `no effect: ${instead}`).hideHelp(),
  )
}

/** One sentence for each inert flag that was given with a value that it cannot fulfil. */
export function inertWarnings(values: Readonly<Record<string, unknown>>): readonly string[] {
  return INERT_FLAGS.flatMap(({ name, fulfilled, instead }) => {
    const attribute = new Option(`--${name} [value]`).attributeName()
    const value = values[attribute]
    if (value === undefined || fulfilled.includes(String(value))) return []
    return [`--${name} has no effect: ${instead}`]
  })
}

/** The attributes under which commander puts them. */
export function inertAttributes(): ReadonlySet<string> {
  return new Set(inertOptions().map((option) => option.attributeName()))
}
