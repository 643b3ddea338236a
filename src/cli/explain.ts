import { readFileSync } from 'node:fs'
import { type Command, InvalidArgumentError, Option } from 'commander'
import type { Explained, Unroutable } from '../app/explain.ts'
import { SchedulerError } from '../framework/errors.ts'
import type { ExplainedEndpoint } from '../framework/routing/explanation.ts'
import { API_PATHS } from '../openai/api-path.ts'

interface ExplainFlags {
  readonly url: string
  readonly header: readonly string[]
  readonly api?: string
  readonly pool?: string
  readonly id?: string
  readonly adminTokenFile?: string
  readonly json?: boolean
}

/** Rows of a table that people read; `--json` has all. */
const SHOWN_ENDPOINTS = 20
const TIMEOUT_MS = 30_000
export function addExplainCommand(program: Command): void {
  program
    .command('explain')
    .description('ask a running picker where a request would go, and why; nothing is sent')
    .argument('[file]', 'a request body as JSON; - reads standard input', '-')
    .addOption(
      new Option('--url <url>', "the picker's metrics port")
        .env('EPP_URL')
        .default('http://127.0.0.1:9090'),
    )
    .option('--id <x-request-id>', 'a request that was routed, instead of a body')
    .option('-H, --header <name: value>', 'a header of the request; may be repeated', header, [])
    .addOption(
      new Option('--api <name>', 'whose format the body has (default: told by its fields)').choices(
        Object.keys(API_PATHS),
      ),
    )
    .option('--pool <namespace/name>', 'where the picker serves several pools')
    .addOption(
      new Option('--admin-token-file <file>', 'the token that the picker asks for').env(
        'EPP_ADMIN_TOKEN_FILE',
      ),
    )
    .option('--json', 'everything, as JSON')
    .addHelpText(
      'after',
      `
Example:
  echo '{"model":"Qwen3-32B","messages":[{"role":"user","content":"Hello!"}]}' | epp explain`,
    )
    .action(run)
}

async function run(file: string, flags: ExplainFlags): Promise<void> {
  const answer = await ask(flags.id === undefined ? body(file) : undefined, flags)
  process.stdout.write(flags.json ? `${JSON.stringify(answer, null, 2)}\n` : await shown(answer))
  if ('error' in answer) process.exitCode = 1
}

/** @throws {SchedulerError} START_FAILED */
function body(file: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8')
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new SchedulerError('START_FAILED', `${file} cannot be read: ${code}`, { cause })
  }
}

/** @throws {SchedulerError} START_FAILED for a picker that does not answer; BAD_REQUEST with what it says of the request */
async function ask(body: string | undefined, flags: ExplainFlags): Promise<Explained | Unroutable> {
  const url = urlOf(flags)
  const headers = new Headers(
    flags.header.map((each) => each.split(/:(.*)/s, 2) as [string, string]),
  )
  if (body !== undefined) headers.set('content-type', 'application/json')
  if (flags.adminTokenFile !== undefined) {
    headers.set('authorization', `Bearer ${readFileSync(flags.adminTokenFile, 'utf8').trim()}`)
  }
  let response: Response
  let text: string
  try {
    response = await fetch(url, {
      ...(body !== undefined && { method: 'POST', body }),
      headers,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    text = await response.text()
  } catch (cause) {
    const reason = (cause as { cause?: { code?: string } }).cause?.code ?? (cause as Error).message
    throw new SchedulerError(
      'START_FAILED',
      `no picker answers at ${flags.url} (${reason}); say where its metrics port is with --url`,
      { cause },
    )
  }
  const answer = parsed(text)
  if (answer !== undefined && 'profiles' in answer) {
    return 'explanation' in answer
      ? ({ ...answer, ...(answer.explanation as Explained) } as Explained)
      : (answer as unknown as Explained)
  }
  const error = answer?.error as { message?: string } | string | undefined
  const message = typeof error === 'string' ? error : error?.message
  throw new SchedulerError(
    'BAD_REQUEST',
    message ??
      `${url} answered ${response.status} and no explanation; is it the picker's metrics port?`,
  )
}

function urlOf({ url, id, api, pool }: ExplainFlags): URL {
  const asked = new URL(id === undefined ? '/explain' : `/decisions/${encodeURIComponent(id)}`, url)
  if (api !== undefined) asked.searchParams.set('path', API_PATHS[api]!)
  if (pool !== undefined) asked.searchParams.set('pool', pool)
  return asked
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** What people read: the answer first, then the table that it comes from. */
async function shown(answer: Explained | Unroutable): Promise<string> {
  const { plainTable } = await import('./plain-table.ts')
  const { winner, reason, wouldChange, profiles } = answer
  const lines = [winner ? `${winner.name} (${winner.endpoint})` : 'nobody', `  ${reason}`]
  if ('promptTokens' in answer && answer.promptTokens) {
    const { count, exact, reason: why } = answer.promptTokens
    lines.push(`  ${count} prompt tokens, ${exact ? 'exact' : `not exact: ${why ?? 'estimated'}`}`)
  }
  if ('remark' in answer && answer.remark) lines.push(`  ${answer.remark}`)
  for (const { scorer, from, to, winner: other } of wouldChange) {
    lines.push(`  with ${scorer} at weight ${to} instead of ${from}: ${other}`)
  }
  for (const { profile, endpoints, failed } of profiles) {
    lines.push('', `profile ${profile}`, plainTable(...table(endpoints)))
    if (endpoints.length > SHOWN_ENDPOINTS) {
      lines.push(`(${endpoints.length - SHOWN_ENDPOINTS} more; --json shows all)`)
    }
    for (const [name, error] of Object.entries(failed)) lines.push(`${name} failed: ${error}`)
  }
  return `${lines.join('\n')}\n`
}

/** Heads, and a row for each endpoint. */
function table(
  endpoints: readonly ExplainedEndpoint[],
): [head: readonly string[], rows: readonly (readonly string[])[]] {
  const scorers = Object.keys(endpoints[0]?.scores ?? {})
  const rows = endpoints.slice(0, SHOWN_ENDPOINTS).map((each) => {
    if (each.droppedBy !== undefined) return ['-', each.name, `dropped by ${each.droppedBy}`]
    const scores = scorers.map((name) => {
      const { score, weighted } = each.scores![name]!
      return `${number(weighted)} (${number(score)})`
    })
    return [String(each.rank), each.name, number(each.total!), matched(each), ...scores]
  })
  return [['rank', 'endpoint', 'total', 'matched', ...scorers], rows]
}

function matched({ matched: found }: ExplainedEndpoint): string {
  if (!found) return ''
  const media = Object.entries(found.byMedium ?? {}).filter(([, blocks]) => blocks > 0)
  const where = media.map(([medium, blocks]) => `${blocks} ${medium}`).join(', ')
  return `${found.tokens} tokens, ${found.blocks} block${found.blocks === 1 ? '' : 's'}${where === '' ? '' : ` (${where})`}`
}

function number(value: number): string {
  return String(Number(value.toFixed(3)))
}

function header(text: string, before: readonly string[]): readonly string[] {
  if (/^[!#$%&'*+.^_`|~0-9A-Za-z-]+:/.test(text)) return [...before, text]
  throw new InvalidArgumentError(`"${text}" is not a header; write it as "name: value".`)
}
