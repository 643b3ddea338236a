import { type Command, Option } from 'commander'
import type { ProxyOptions } from '../app/proxy.ts'
import { count, duration, listenAddress } from './flag-values.ts'
import { serveFlags } from './serve-flags.ts'
import { serveOptions } from './serve-options.ts'

const HOST = '127.0.0.1'
const PORT = 8080

/** What the flags say when they are not given. */
export const PROXY_DEFAULTS = { retries: 1, engineTimeoutMs: 600_000 } as const

interface ProxyFlags {
  readonly listen: ReturnType<typeof listenAddress>
  readonly apiKeysFile?: string
  readonly proxyCertPath?: string
  readonly retries: number
  readonly engineTimeout: number
}

/** Flags of `serve` that the help of `proxy` shows; it takes all. */
const SHOWN = [
  ...['--config-file', '--endpoint', '--endpoints-file', '--bind-address', '--metrics-port'],
  ...['--kv-events-bind', '--kv-events-dial', '--tokenizers-dir', '--drain-timeout'],
  ...['--enable-cert-reload', '--admin-token-file', '--request-log', '--pool-name'],
  '--decision-header',
]

export function addProxyCommand(program: Command): void {
  const command = program
    .command('proxy')
    .description('serve, and route HTTP requests to the engines itself: no gateway needed')
  for (const option of [...proxyFlags(), ...serveFlags()]) {
    const isShown = proxyFlags().some(({ long }) => long === option.long)
    command.addOption(option.hideHelp(!isShown && !SHOWN.includes(option.long!)))
  }
  command
    .addHelpText(
      'after',
      `
All flags of \`epp serve\` are taken too; each has an environment variable: --listen is EPP_LISTEN.

Example:
  epp proxy --endpoint http://10.0.0.5:8000 --endpoint http://10.0.0.6:8000`,
    )
    .action(async (values: Record<string, unknown>) => {
      const { runServe } = await import('./serve.ts')
      await runServe(proxyOptions(values))
    })
}

function proxyFlags(): readonly Option[] {
  const flags = [
    new Option('--listen <[host:]port>', 'where clients connect')
      .default({ host: HOST, port: PORT }, `${HOST}:${PORT}`)
      .argParser(listenAddress),
    new Option(
      '--api-keys-file <file>',
      'keys of which clients must bring one: one a line, watched',
    ),
    new Option('--proxy-cert-path <dir>', 'tls.crt and tls.key for clients (default: plain HTTP)'),
    new Option('--retries <n>', 'times that a request is sent again whose endpoint broke down')
      .default(PROXY_DEFAULTS.retries)
      .argParser(count),
    new Option('--engine-timeout <duration>', 'until an engine must begin to answer')
      .default(PROXY_DEFAULTS.engineTimeoutMs, '10m')
      .argParser(duration),
  ]
  for (const flag of flags)
    flag.env(`EPP_${flag.long!.slice(2).toUpperCase().replaceAll('-', '_')}`)
  return flags
}

/** @throws as `serveOptions` */
function proxyOptions({
  listen,
  apiKeysFile,
  proxyCertPath,
  retries,
  engineTimeout,
  ...values
}: Record<string, unknown>) {
  const flags = { listen, apiKeysFile, proxyCertPath, retries, engineTimeout } as ProxyFlags
  const host = flags.listen.host ?? HOST
  const serve = serveOptions(values)
  const proxy: ProxyOptions = {
    ...{ host, port: flags.listen.port },
    ...{ retries: flags.retries, engineTimeoutMs: flags.engineTimeout },
    ...(flags.apiKeysFile && { apiKeysFile: flags.apiKeysFile }),
    ...(flags.proxyCertPath && { certPath: flags.proxyCertPath }),
  }
  const isAlone =
    serve.endpoints.length === 0 &&
    [serve.endpointsFile, serve.configFile, serve.configText, serve.kubernetes].every(
      (source) => source === undefined,
    )
  return {
    ...serve,
    // What is for this machine alone is not opened to others by its other ports.
    bindAddress: serve.bindAddress ?? host,
    proxy,
    flagWarnings: [
      ...serve.flagWarnings,
      ...(isAlone
        ? ['no model server is known; give --endpoint http://10.0.0.5:8000, or --endpoints-file']
        : []),
    ],
  }
}
