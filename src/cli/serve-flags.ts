import { Option } from 'commander'
import {
  bool,
  count,
  duration,
  metric,
  poolGroup,
  poolNames,
  port,
  positive,
  requestLog,
  responses,
  targetPorts,
  urlPath,
  verbosity,
  zapLevel,
} from './flag-values.ts'
import { inertOptions } from './inert-flags.ts'
import { limitFlags } from './limit-flags.ts'

const DEFAULT_KV_PORT = 5557
const DEFAULT_KV_REPLAY_PORT = 5558

/** Flags of every deployment, in the order in which `--help` shows them. */
function generalFlags(): readonly Option[] {
  return [
    new Option('--config-file <file>', 'profiles and plugins (default: the shipped profile)'),
    new Option('--config-text <yaml>', 'the same as text'),
    new Option('--endpoint <address...>', 'a model server, such as 10.0.0.5:8000; may be repeated'),
    new Option(
      '--endpoints-file <file>',
      'model servers, watched: {endpoints: [{name, address, port}]}',
    ),
    new Option('--bind-address <ip>', 'address that all ports bind (default: every one)'),
    new Option('--grpc-port <port>', 'ext_proc').default(9002).argParser(port),
    new Option('--grpc-health-port <port>', 'gRPC health').default(9003).argParser(port),
    new Option('--metrics-port <port>', 'metrics, health, admin pages')
      .default(9090)
      .argParser(port),
    new Option('--kv-events-bind [address]', 'engines connect here with their KV events').preset(
      `tcp://*:${DEFAULT_KV_PORT}`,
    ),
    new Option('--kv-events-dial [port]', 'dial every endpoint at PORT + rank for its KV events')
      .preset(DEFAULT_KV_PORT)
      .argParser((text) => (typeof text === 'number' ? text : port(text))),
    new Option('--kv-events-replay [port]', 'ask engines for missed KV events at PORT + rank')
      .preset(DEFAULT_KV_REPLAY_PORT)
      .argParser((text) => (typeof text === 'number' ? text : port(text))),
    new Option(
      '--tokenizers-dir <dir>',
      'one folder per model: tokenizer.json, tokenizer_config.json',
    ),
    new Option('--secure-serving [bool]', 'TLS on the ext_proc port').default(true).argParser(bool),
    new Option('--cert-path <dir>', 'tls.crt and tls.key (default: self-signed)'),
    new Option('--enable-cert-reload [bool]', 'take changed files of --cert-path over')
      .default(false)
      .argParser(bool),
    new Option(
      '--responses <mode>',
      'look at them: auto (when a plugin needs them), full, sampled=N, none',
    ).argParser(responses),
    new Option(
      '--fallback-endpoints <n>',
      'named after the picked one, for gateways that try a list',
    ).argParser(count),
    new Option('--disable-endpoint-subset-filter [bool]', "ignore the gateway's subset hints")
      .default(false)
      .argParser(bool),
    new Option('--refresh-metrics-interval <duration>', 'time between two scrapes of an endpoint')
      .default(200, '200ms')
      .argParser(duration),
    new Option(
      '--metrics-staleness-threshold <duration>',
      'age at which metrics are not believed (default: 10 intervals, at least 2s)',
    ).argParser(duration),
    new Option(
      '--model-server-metrics-port <port>',
      'of every metrics page (default: the port that serves)',
    ).argParser(port),
    new Option('--model-server-metrics-path <path>', 'of every metrics page')
      .default('/metrics')
      .argParser(urlPath),
    new Option('--model-server-metrics-scheme <scheme>', 'how model servers are spoken to')
      .choices(['http', 'https'])
      .default('http'),
    new Option(
      '--model-server-metrics-https-insecure-skip-verify [bool]',
      'any certificate of theirs will do',
    )
      .default(true)
      .argParser(bool),
    new Option(
      '--request-timeout <duration>',
      'load of a request without an end is dropped after it',
    )
      .default(3_600_000, '1h')
      .argParser(duration),
    new Option('--drain-timeout <duration>', 'time that running requests get at shutdown')
      .default(30_000, '30s')
      .argParser(duration),
    new Option(
      '--admin-token-file <file>',
      'bearer token for the admin pages (default: loopback only)',
    ),
    new Option('--log-format <format>', 'log lines (default: text)').choices(['text', 'json']),
    new Option('--request-log <mode>', 'per-request lines: on, off, sampled=N')
      .default('on')
      .argParser(requestLog),
    new Option('--record <file>', 'write decisions down, without text, for epp replay'),
    new Option('--strict [bool]', 'warnings in the configuration are errors').argParser(bool),
    new Option('-v, --verbosity <n>', '0-2 information, 4 and more debug')
      .default(2)
      .argParser(verbosity),
  ]
}

function kubernetesFlags(): readonly Option[] {
  return [
    new Option(
      '--pool-name <name>',
      'InferencePool to serve, NAME or NAMESPACE/NAME; may be repeated',
    ).argParser(poolNames),
    new Option('--pool-selector <labels>', 'or: every InferencePool with these labels'),
    new Option('--pool-namespace <name>', 'of pools and pods (default: $NAMESPACE, else default)'),
    new Option('--pool-group <group>', 'API group (default: those that are served)').argParser(
      poolGroup,
    ),
    new Option('--endpoint-selector <labels>', 'or, without pools: the pods with these labels'),
    new Option(
      '--endpoint-target-ports <ports>',
      'ports of such a pod, 1 to 8 of them: 8000,8001',
    ).argParser(targetPorts),
    new Option(
      '--kubeconfig <file>',
      'how to reach the cluster (default: $KUBECONFIG, service account)',
    ),
    new Option('--ha-enable-leader-election [bool]', 'of several replicas one serves')
      .default(false)
      .argParser(bool),
    new Option('--ha-lease-name <name>', 'Lease that they compete for (default: from the pool)'),
    new Option('--ha-lease-namespace <name>', "its namespace (default: the picker's own)"),
    new Option('--ha-lease-duration <duration>', 'time without the leader before another leads')
      .default(15_000, '15s')
      .argParser(duration),
  ]
}

/** Flags for other engines than vLLM, of GIE's and llm-d's pickers that say what others of ours say, and seldom used ones. */
function hiddenFlags(): readonly Option[] {
  return [
    new Option('--seed <n>', 'of random choices (default: random)').argParser(positive),
    new Option('--total-queued-requests-metric <metric>', 'requests that wait').argParser(metric),
    new Option('--total-running-requests-metric <metric>', 'requests that run').argParser(metric),
    new Option('--kv-cache-usage-percentage-metric <metric>', 'use of the KV cache').argParser(
      metric,
    ),
    new Option('--cache-info-metric <metric>', 'labels that describe the KV cache').argParser(
      metric,
    ),
    new Option(
      '--decision-header [bool]',
      'tell clients in x-epp-decision where their request went, and why',
    ).argParser(bool),
    new Option(
      '--record-max-mib <mib>',
      'of --record and the file before it (default: 1024)',
    ).argParser(positive),
    new Option('--zap-log-level <level>', 'instead of -v: debug, info, error').argParser(zapLevel),
    new Option('--zap-encoder <encoder>', 'instead of --log-format').choices(['json', 'console']),
  ].map((option) => option.hideHelp())
}

/** Every flag of `serve`. Each has an environment variable: `--grpc-port` is `EPP_GRPC_PORT`. */
export function serveFlags(): readonly Option[] {
  const named = [
    ...generalFlags(),
    ...limitFlags(),
    ...kubernetesFlags().map((option) => option.helpGroup('Kubernetes:')),
    ...hiddenFlags(),
  ]
  for (const option of named) {
    option.env(`EPP_${option.long!.slice(2).toUpperCase().replaceAll('-', '_')}`)
  }
  return [...named, ...inertOptions()]
}
