import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { ServeOptions } from '../app.ts'
import { durationMs } from '../framework/duration.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { RequestLogMode } from '../framework/routing/request-log.ts'

const DEFAULT_KV_PORT = 5557

/** The flags of `serve`, in the order in which `--help` shows them. */
export function addServeOptions(command: Command): Command {
  const options = [
    new Option('--config-file <file>', 'profiles and plugins (default: the shipped profile)'),
    new Option('--config-text <yaml>', 'the same as text').conflicts('configFile'),
    new Option('--endpoint <address...>', 'a model server, such as 10.0.0.5:8000; may be repeated'),
    new Option(
      '--endpoints-file <file>',
      'model servers, watched: {endpoints: [{name, address, port}]}',
    ),
    new Option('--bind-address <ip>', 'address that all ports bind').default('0.0.0.0'),
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
      .argParser(port),
    new Option(
      '--tokenizers-dir <dir>',
      'one folder per model: tokenizer.json, tokenizer_config.json',
    ),
    new Option('--secure-serving [bool]', 'TLS on the ext_proc port').default(true).argParser(bool),
    new Option('--cert-path <dir>', 'tls.crt and tls.key (default: self-signed)'),
    new Option('--responses <mode>', 'look at responses: auto is when a plugin needs them')
      .choices(['auto', 'always', 'never'])
      .default('auto'),
    new Option('--refresh-metrics-interval <duration>', 'time between two scrapes of an endpoint')
      .default(200, '200ms')
      .argParser(duration),
    new Option(
      '--request-timeout <duration>',
      'load of a request without an end is dropped after it',
    )
      .default(3_600_000, '1h')
      .argParser(duration),
    new Option('--drain-timeout <duration>', 'time that running requests get at shutdown')
      .default(30_000, '30s')
      .argParser(duration),
    new Option('--max-body-mib <n>', 'larger request bodies get 413')
      .default(64)
      .argParser(positive),
    new Option('--max-buffered-mib <n>', 'all bodies held at once; beyond it 503')
      .default(1024)
      .argParser(positive),
    new Option(
      '--admin-token-file <file>',
      'bearer token for the admin pages (default: loopback only)',
    ),
    new Option('--log-format <format>', 'log lines').choices(['text', 'json']).default('text'),
    new Option('--request-log <mode>', 'per-request lines: on, off, sampled=N')
      .default('on' as RequestLogMode)
      .argParser(requestLog),
    new Option('--seed <n>', 'of random choices (default: random)').argParser(positive),
    new Option('--strict', 'warnings in the configuration are errors'),
    new Option('-v, --verbosity <n>', '0-2 information, 4 and more debug')
      .default(2)
      .argParser(Number),
  ]
  for (const option of options) {
    if (option.long) option.env(`EPP_${option.long.slice(2).toUpperCase().replaceAll('-', '_')}`)
    option.envVar = option.envVar!
    command.addOption(option.hideHelp(false))
  }
  return command
}

/** What commander parsed, as the application takes it. */
export function serveOptions(values: Record<string, unknown>): ServeOptions {
  const { adminTokenFile, verbosity, endpoint, ...rest } = values
  return {
    ...(rest as unknown as Omit<ServeOptions, 'endpoints' | 'logLevel' | 'adminToken'>),
    endpoints: (endpoint as readonly string[] | undefined) ?? [],
    logLevel: Number(verbosity) >= 4 ? 'debug' : 'info',
    adminToken: adminTokenFile === undefined ? undefined : readToken(String(adminTokenFile)),
  }
}

/** @throws {SchedulerError} START_FAILED when it cannot be read or is empty */
function readToken(file: string): string {
  let token: string
  try {
    token = readFileSync(file, 'utf8').trim()
  } catch (cause) {
    const reason = (cause as Error).message
    throw new SchedulerError(
      'START_FAILED',
      `--admin-token-file ${file} cannot be read: ${reason}`,
      {
        cause,
      },
    )
  }
  if (token !== '') return token
  throw new SchedulerError(
    'START_FAILED',
    `--admin-token-file ${file} is empty; write a token of your choice into it`,
  )
}

function port(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= 0 && value <= 65535) return value
  throw new InvalidArgumentError(
    `"${text}" is not a port; give a number from 0 (any free one) to 65535.`,
  )
}

function positive(text: string): number {
  const value = Number(text)
  if (Number.isInteger(value) && value > 0) return value
  throw new InvalidArgumentError(`"${text}" is not a positive whole number.`)
}

function bool(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  throw new InvalidArgumentError(`"${text}" is neither true nor false.`)
}

function duration(text: string): number {
  try {
    return durationMs(text)
  } catch (error) {
    throw new InvalidArgumentError(`${(error as Error).message}.`)
  }
}

function requestLog(text: string): RequestLogMode {
  if (text === 'on' || text === 'off') return text
  const [, every] = /^sampled=([1-9]\d*)$/.exec(text) ?? []
  if (every !== undefined) return { sampled: Number(every) }
  throw new InvalidArgumentError(`"${text}" is none of on, off, sampled=N.`)
}
