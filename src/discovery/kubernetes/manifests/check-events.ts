import {
  type KvEventsFlag,
  kvEventsFlag,
} from '../../../framework/engine-command/kv-events-flag.ts'
import type { Word } from '../../../framework/engine-command/word.ts'
import { checkEndpoint, serviceAddress } from './check-endpoint.ts'
import { checkTopic } from './check-topic.ts'
import { type Engine, engineTitle, isOlder, placeOf, servedNames } from './engine.ts'
import {
  doubleQuoted,
  EVENT_FLAG,
  placeWithin,
  podIpReference,
  type ReportWord,
} from './event-flag.ts'
import { type Findings, type KubernetesObject, shown } from './manifest.ts'
import type { PoolPlan } from './pool.ts'

/** Checks that an engine's KV events reach the picker, and that the picker can tell whose they are. */
export function checkEvents(
  engine: Engine,
  plan: PoolPlan | undefined,
  services: readonly KubernetesObject[],
  findings: Findings,
): void {
  const flag = kvEventsFlag(engine.args)
  const { manifest } = engine.workload.object
  if (flag === undefined) {
    if (!plan?.precise) return
    findings.error(
      manifest,
      [...engine.path, engine.textPaths.length === 0 ? 'image' : 'command'],
      `${EVENT_FLAG} is missing, so that the picker never learns what ${engineTitle(engine)} has cached; add ${wholeFlag(engine, plan)}`,
      'key',
    )
    return
  }
  const at = (word: Word, unit: number, message: string) => {
    const [path, index] = placeOf(engine, word, unit)
    findings.error(manifest, path, message, index)
  }
  if (flag.fault !== undefined) {
    at(flag.word, 0, `${EVENT_FLAG} ${flag.fault}; write ${wholeFlag(engine, plan)}`)
    return
  }
  if (!checkEnabled(engine, flag, at)) return
  const endpoint = flag.fields.get('endpoint')
  checkEndpoint(engine, flag, endpoint, plan, services, at)
  checkTopic(engine, flag, plan, findings)
}

/** Reports what keeps the engine from sending events; true when it does send. */
function checkEnabled(engine: Engine, { word, fields }: KvEventsFlag, at: ReportWord): boolean {
  const enabled = fields.get('enable_kv_cache_events')
  if (enabled?.value !== true) {
    const [place, unit] = placeWithin(enabled, word)
    const is = enabled === undefined ? 'is missing' : `is ${shown(enabled.value)}`
    at(
      place,
      unit,
      `${EVENT_FLAG}: enable_kv_cache_events ${is}, so that no events are sent; write true`,
    )
    return false
  }
  const publisher = fields.get('publisher')
  // Releases after 0.10 take zmq as soon as events are enabled.
  if (publisher === undefined && !isOlder(engine, 0, 11, 0)) return true
  if (publisher?.value !== 'zmq') {
    const [place, unit] = placeWithin(publisher, word)
    const is = publisher === undefined ? 'is missing' : `is ${shown(publisher.value)}`
    at(place, unit, `${EVENT_FLAG}: publisher ${is}, so that no events are sent; write "zmq"`)
    return false
  }
  return true
}

/** The flag as it should be written for this engine. */
function wholeFlag(engine: Engine, plan: PoolPlan | undefined): string {
  const model = servedNames(engine)[0] ?? 'MODEL'
  const endpoint =
    plan?.dialPort !== undefined
      ? `tcp://*:${plan.dialPort}`
      : `tcp://${plan === undefined ? 'PICKER' : serviceAddress(plan)}:5557`
  const json = JSON.stringify({
    ...{ enable_kv_cache_events: true, publisher: 'zmq', endpoint },
    topic: `kv@${podIpReference(engine)}@${model}`,
  })
  return `${EVENT_FLAG} ${engine.shell ? doubleQuoted(json) : json}`
}
