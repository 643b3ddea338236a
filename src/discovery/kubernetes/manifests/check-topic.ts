import type { KvEventsFlag } from '../../../framework/engine-command/kv-events-flag.ts'
import type { Word } from '../../../framework/engine-command/word.ts'
import { type Engine, engineTitle, placeOf, portsOf, servedNames, whereIsWord } from './engine.ts'
import { fieldMark } from './environment.ts'
import { doubleQuoted, EVENT_FLAG, isDotted, placeWithin, podIpReference } from './event-flag.ts'
import { type Findings, isPlaceholder, shown } from './manifest.ts'
import type { PoolPlan } from './pool.ts'

const POD_IP_FIELD = 'status.podIP'
const POD_IP = fieldMark(POD_IP_FIELD)
/** A variable as it is written for a shell or for Kubernetes. */
const REFERENCE = /\$\{(\w+)\}|\$\((\w+)\)|\$(\w+)/

/** Checks that an engine's topic says `kv@<address of the pod>@<model>`. */
export function checkTopic(
  engine: Engine,
  flag: KvEventsFlag,
  plan: PoolPlan | undefined,
  findings: Findings,
): void {
  const field = flag.fields.get('topic')
  const [word, unit] = placeWithin(field, flag.word)
  const at = (message: string, behind = 0) => {
    const [path, index] = placeOf(engine, word, unit + behind)
    findings.error(engine.workload.object.manifest, path, message, index)
  }
  const model = servedNames(engine)[0]
  const wanted = `kv@${podIpReference(engine)}@${model ?? 'MODEL'}`
  const topic = field?.value
  if (typeof topic !== 'string') {
    at(
      `${EVENT_FLAG}: topic ${field === undefined ? 'is missing' : `is ${shown(topic)}`}, so that the picker cannot tell whose events they are; write "${wanted}"`,
    )
    return
  }
  if (isPlaceholder(topic)) return
  const [, address, named] = /^kv@([^@]*)@(.*)$/.exec(topic) ?? []
  if (address === undefined || named === undefined) {
    at(
      `${EVENT_FLAG}: topic ${shown(topic)} is not of the form kv@ADDRESS@MODEL; write "${wanted}"`,
    )
    return
  }
  const [, host = address, port] = /^(.*):(\d+)$/.exec(address) ?? []
  const literal = REFERENCE.exec(host)
  const written = literal && word.quoting[word.value.indexOf(literal[0])] !== 'expanded'
  if (literal !== null && written) {
    at(literalReference(engine, flag, word, literal, wanted), topic.indexOf(literal[0]))
  } else if (host !== POD_IP) {
    checkAddress(engine, host, [word, unit], at, findings)
  }
  const ports = plan?.pool.targetPorts ?? portsOf(engine)
  if (port !== undefined && ports !== undefined && !ports.includes(Number(port))) {
    at(
      `${EVENT_FLAG}: topic says port ${port}, but requests go to port ${ports.join(', ')}; write "${wanted}"`,
      topic.indexOf(port),
    )
  }
  if (model !== undefined && !isOpenText(named) && !servedNames(engine).includes(named)) {
    at(
      `${EVENT_FLAG}: topic says model "${named}", but ${engineTitle(engine)} serves "${model}"; write "${wanted}"`,
      topic.length - named.length,
    )
  }
}

/** A topic that holds a variable where its value should stand. */
function literalReference(
  engine: Engine,
  flag: KvEventsFlag,
  word: Word,
  [reference, braced, parenthesized, plain]: RegExpExecArray,
  wanted: string,
): string {
  const name = braced ?? parenthesized ?? plain ?? ''
  const unit = word.value.indexOf(reference)
  const quoting = word.quoting[unit]
  if (!engine.shell) {
    const defined = engine.env.has(name)
    return parenthesized !== undefined && !defined
      ? `${EVENT_FLAG}: topic has ${reference}, but ${name} is not in env; ${addVariable(name)}`
      : `${EVENT_FLAG}: topic has ${reference}, which only a shell would expand, and there is none; write $(${name}), which Kubernetes expands`
  }
  const because =
    quoting === 'single'
      ? 'inside single quotes, where the shell does not expand it'
      : quoting === 'escaped'
        ? 'behind a backslash, so that the shell does not expand it'
        : 'and is not expanded'
  const instead = isDotted(engine) ? `"${wanted}"` : lineInstead(engine, flag.word)
  return `${EVENT_FLAG}: topic has ${reference} ${because}; write ${instead}`
}

/** The line of the command with the flag's value in double quotes. */
function lineInstead(engine: Engine, word: Word): string {
  const text = engine.texts[word.source]!
  const before = text.slice(text.lastIndexOf('\n', word.start) + 1, word.start)
  const lineEnd = text.indexOf('\n', word.end)
  const after = text.slice(word.end, lineEnd < 0 ? undefined : lineEnd)
  // Only the rest of a line that holds nothing else is shown: a folded command is one long line.
  const alone = /^\s*--[\w-]+[ =]$/.test(before) && /^\s*\\?\s*$/.test(after)
  const inline = before.endsWith('=') ? `${EVENT_FLAG}=` : `${EVENT_FLAG} `
  return alone
    ? `${before.trimStart()}${doubleQuoted(word.value)}${after}`
    : `${inline}${doubleQuoted(word.value)}`
}

/** An address that is not the pod's own. */
function checkAddress(
  engine: Engine,
  host: string,
  [word, unit]: readonly [Word, number],
  at: (message: string) => void,
  findings: Findings,
): void {
  const { manifest } = engine.workload.object
  const [, unset] = /^\{\$(\w+)\}$/.exec(host) ?? []
  const [, field] = /^\{((?:status|metadata|spec)\..*)\}$/.exec(host) ?? []
  if (unset !== undefined) {
    if (hasUnlistedVariables(engine)) return
    at(`${EVENT_FLAG}: topic has \${${unset}}, but ${unset} is not in env; ${addVariable(unset)}`)
  } else if (field !== undefined) {
    const [name, variable] = [...engine.env].find(([, each]) => each.field === field)!
    findings.error(
      manifest,
      [...variable.path, 'valueFrom', 'fieldRef', 'fieldPath'],
      `${name} is ${field}, but stands in the topic of ${EVENT_FLAG} (${whereIsWord(engine, word, unit)}) for the pod's address; write ${POD_IP_FIELD}`,
    )
  } else if (!isOpenText(host)) {
    at(
      `${EVENT_FLAG}: topic says address "${host}", which every replica would then claim to be; write ${podIpReference(engine)}`,
    )
  }
}

/** Variables may come from elsewhere when the container has `envFrom`. */
function hasUnlistedVariables({ container }: Engine): boolean {
  return typeof container === 'object' && container !== null && 'envFrom' in container
}

function addVariable(name: string): string {
  return `add to env: { name: ${name}, valueFrom: { fieldRef: { fieldPath: ${POD_IP_FIELD} } } }`
}

/** A part of a text that cannot be told from the manifest. */
function isOpenText(text: string): boolean {
  return /[{$]/.test(text) || isPlaceholder(text)
}
