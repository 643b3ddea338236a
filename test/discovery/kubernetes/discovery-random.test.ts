import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readDocument } from '../../../src/config/document.ts'
import { KubeClient } from '../../../src/discovery/kubernetes/client.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { ApiServer } from './api-server.ts'
import type { StoredObject } from './api-table.ts'
import {
  ALIBABA,
  discover,
  LLM_D,
  POOL_ALPHA,
  POOL_V1,
  podObject,
  poolObject,
  poolPart,
  SHORT,
} from './cluster.ts'

const SEEDS = [1, 2]
const BURSTS = 40
/** The view must be right after this time; it is printed, and a test fails at ten times the value. */
const LIMIT_MS = 1000
/** What a fault that only silence shows may take more: the idle limit of the short times. */
const SILENCE_MS = SHORT.maxWatchSeconds * 1000 + SHORT.idleMarginMs

const APPS = ['x', 'y', 'z']
const NAMES = ['m0', 'm1', 'm2', 'm3']
const POOLS = ['pool', 'second']

interface Spec {
  readonly poolRef: { readonly name: string }
  readonly selector: { readonly app?: string; readonly matchLabels?: { readonly app: string } }
  readonly targetPorts?: readonly { readonly number: number }[]
  readonly targetPortNumber: number
  readonly priority: number
  readonly rules: readonly {
    readonly matches: readonly { readonly model: { readonly value: string } }[]
    readonly targets: readonly { readonly modelRewrite: string }[]
  }[]
  readonly modelName: string
  readonly criticality: string
  readonly targetModels: readonly { readonly name: string }[]
}
const specOf = (object: StoredObject) => object.spec as Spec
const oldestFirst = (a: StoredObject, b: StoredObject) =>
  Date.parse(a.metadata.creationTimestamp) - Date.parse(b.metadata.creationTimestamp) ||
  (a.metadata.name < b.metadata.name ? -1 : 1)

/** What a picker should know of a pool, computed from the server's tables alone. */
function truth(server: ApiServer, name: string): unknown {
  const find = (version: string) =>
    server.list(version, 'InferencePool').find(({ metadata }) => metadata.name === name)
  const pool = find(POOL_V1) ?? find(POOL_ALPHA)
  const spec = pool && specOf(pool)
  const app = spec?.selector.matchLabels?.app ?? spec?.selector.app
  const ports = spec?.targetPorts?.map(({ number }) => number) ?? [spec?.targetPortNumber]
  const endpoints = server.list('v1', 'Pod').flatMap(({ metadata, status }) => {
    const { podIP, conditions } = status as { podIP: string; conditions: { status: string }[] }
    const serves =
      pool !== undefined &&
      metadata.labels!.app === app &&
      metadata.deletionTimestamp === undefined &&
      conditions[0]!.status === 'True'
    return serves
      ? ports.map((port, rank) => `${metadata.name} ${podIP}:${port} ${rank} ${metadata.uid}`)
      : []
  })
  const ofPool = (version: string, kind: string) =>
    server.list(version, kind).filter((object) => specOf(object).poolRef.name === name)
  const newest = (kind: string) =>
    ofPool(server.serves(LLM_D, kind) ? LLM_D : POOL_ALPHA, kind).sort(oldestFirst)
  const objectives = Object.fromEntries(
    newest('InferenceObjective').map((object) => [object.metadata.name, specOf(object).priority]),
  )
  const rewrites = newest('InferenceModelRewrite').map((object) => {
    const [rule] = specOf(object).rules
    return { model: rule!.matches[0]?.model.value, target: rule!.targets[0]!.modelRewrite }
  })
  const models = ofPool(POOL_ALPHA, 'InferenceModel').sort(oldestFirst)
  const rules = NAMES.map((model) => {
    const rewrite =
      rewrites.find((each) => each.model === model) ?? rewrites.find((each) => !each.model)
    const object = models.find((each) => specOf(each).modelName === model)
    const target = object && specOf(object).targetModels[0]
    return [rewrite?.target ?? target?.name ?? null, object ? specOf(object).criticality : null]
  })
  const [policy] = ofPool(ALIBABA, 'InferenceTrafficPolicy').sort(oldestFirst)
  return {
    endpoints: endpoints.sort(),
    priorities: NAMES.map((each) => objectives[each] ?? null),
    rules,
    policy: policy?.metadata.name ?? null,
  }
}

/** The same as the picker's sinks know it. */
function view({ host, random }: ReturnType<typeof discover>, name: string): unknown {
  const { specs, currentRules, currentPolicy } = host.pool(name)
  return {
    endpoints: specs?.map((e) => `${e.name} ${e.address}:${e.port} ${e.rank} ${e.uid}`).sort(),
    priorities: NAMES.map((each) => currentRules?.priorityOf(each) ?? null),
    rules: NAMES.map((each) => {
      const rule = currentRules?.ruleOf(each, random)
      return [rule?.targetModel ?? null, rule?.criticality ?? null]
    }),
    policy: currentPolicy?.source.split('/')[1] ?? null,
  }
}

describe('KubernetesDiscovery under random changes and faults', () => {
  for (const seed of SEEDS) {
    it(`knows the truth after each burst (seed ${seed})`, async function () {
      this.timeout(120_000)
      const random = seeded(seed)
      const upTo = below(random)
      const pick = <T>(list: readonly T[]): T => list[upTo(list.length)]!
      const folder = mkdtempSync(join(tmpdir(), 'epp-token-'))
      const tokenFile = join(folder, 'token')
      const server = new ApiServer({ token: 'token-0', bookmarkMs: 100 })
      writeFileSync(tokenFile, 'token-0\n')
      await server.start()
      const client = KubeClient.open(
        { kubeconfig: server.kubeconfigFile({ tokenFile }), readDocument },
        { answerMs: 1000 },
      )
      const pools = POOLS.map((name) => ({ namespace: 'default', name }))
      const running = discover(server, { kind: 'pools', pools }, SHORT, client)

      const dated = () => ({
        creationTimestamp: new Date(1.7e12 + upTo(1e6) * 1000).toISOString(),
      })
      const part = (version: string, kind: string, spec: object) =>
        server.apply(
          poolPart(
            version,
            kind,
            pick(NAMES),
            { poolRef: { name: pick(POOLS) }, ...spec },
            dated(),
          ),
        )
      const removeOne = (version: string, kind: string) => {
        const objects = server.list(version, kind)
        if (objects.length > 0) server.remove(version, kind, pick(objects).metadata.name)
      }
      const group = () => pick([LLM_D, POOL_ALPHA])
      const pod = () =>
        server.apply(
          podObject(`p${upTo(12)}`, `10.0.${upTo(3)}.${upTo(250)}`, {
            app: pick(APPS),
            ready: random() < 0.8,
            ...(random() < 0.1 && { deletionTimestamp: '2026-01-01T00:00:00Z' }),
          }),
        )
      const changes: readonly (() => unknown)[] = [
        ...[pod, pod, pod, pod, () => removeOne('v1', 'Pod')],
        () =>
          server.apply(
            poolObject(pick(POOLS), {
              ...{ app: pick(APPS), alpha: random() < 0.5 },
              ports: [8000, 8001, 8002].slice(0, 1 + upTo(3)),
            }),
          ),
        () => removeOne(pick([POOL_V1, POOL_ALPHA]), 'InferencePool'),
        () => part(group(), 'InferenceObjective', { priority: upTo(9) - 4 }),
        () => removeOne(group(), 'InferenceObjective'),
        () =>
          part(group(), 'InferenceModelRewrite', {
            rules: [
              {
                matches: random() < 0.8 ? [{ model: { value: pick(NAMES) } }] : [],
                targets: [{ modelRewrite: `t${upTo(9)}` }],
              },
            ],
          }),
        () => removeOne(group(), 'InferenceModelRewrite'),
        () =>
          part(POOL_ALPHA, 'InferenceModel', {
            ...{ modelName: pick(NAMES), criticality: pick(['Critical', 'Sheddable']) },
            targetModels: random() < 0.5 ? [{ name: `v${upTo(9)}` }] : [],
          }),
        () => removeOne(POOL_ALPHA, 'InferenceModel'),
        () =>
          part(ALIBABA, 'InferenceTrafficPolicy', {
            profile: { single: { trafficPolicy: { prefixCache: { mode: 'estimate' } } } },
          }),
        () => removeOne(ALIBABA, 'InferenceTrafficPolicy'),
      ]
      let tokens = 0
      const optional = [
        [LLM_D, 'InferenceObjective'],
        [LLM_D, 'InferenceModelRewrite'],
        [POOL_V1, 'InferencePool'],
        [ALIBABA, 'InferenceTrafficPolicy'],
      ] as const
      const faults: readonly (readonly [string, (burst: () => void) => unknown])[] = [
        ['none', (burst) => burst()],
        ['none', (burst) => burst()],
        [
          'watches cut',
          (burst) => {
            server.watches.drop()
            burst()
          },
        ],
        [
          'watches ended',
          (burst) => {
            burst()
            server.watches.end()
          },
        ],
        [
          'history compacted while away',
          (burst) => {
            server.watches.drop()
            burst()
            server.compact()
          },
        ],
        [
          '410 as a status',
          (burst) => {
            server.watches.goneAs = pick(['event', 'status'])
            server.watches.drop()
            burst()
            server.compact()
          },
        ],
        [
          'refusals',
          (burst) => {
            for (const status of [401, 403, 429, 500, 503]) server.fail('*', status, 1 + upTo(3), 1)
            server.watches.drop()
            burst()
          },
        ],
        [
          'stopped and started',
          async (burst) => {
            await server.stop()
            burst()
            await server.start()
          },
        ],
        [
          'garbage',
          (burst) => {
            burst()
            server.watches.write('pods', pick(['{"type":', 'x\n', '{"type":"ADDED"}\n', '[]\n']))
            server.watches.drop()
          },
        ],
        [
          'token rotated',
          (burst) => {
            server.token = `token-${++tokens}`
            server.watches.drop()
            burst()
            writeFileSync(tokenFile, server.token)
          },
        ],
        [
          'an API that comes and goes',
          (burst) => {
            const [version, kind] = pick(optional)
            server.unserve(version, kind)
            burst()
            if (random() < 0.5) server.serve(version, kind)
          },
        ],
        [
          'silence',
          (burst) => {
            server.watches.silent = true
            burst()
            server.watches.silent = false
          },
        ],
        [
          'store set back',
          (burst) => {
            server.rewind(100_000)
            server.watches.drop()
            burst()
          },
        ],
      ]

      let slowestMs = 0
      let silentUntilMs = 0
      let slowest = ''
      try {
        for (let burst = 0; burst < BURSTS; burst++) {
          const [fault, bring] = pick(faults)
          await bring(() => {
            for (let i = 1 + upTo(10); i > 0; i--) pick(changes)()
          })
          const began = performance.now()
          if (fault === 'silence' || fault === 'store set back') silentUntilMs = began + SILENCE_MS
          // What is silent may matter only for the changes of a later burst.
          const slow = Math.max(0, silentUntilMs - began)
          const wanted = JSON.stringify(POOLS.map((name) => truth(server, name)))
          const known = () => JSON.stringify(POOLS.map((name) => view(running, name)))
          while (known() !== wanted && performance.now() - began < slow + LIMIT_MS * 10) {
            await new Promise((done) => setTimeout(done, 2))
          }
          assert.equal(known(), wanted, `burst ${burst} with ${fault}`)
          const tookMs = performance.now() - began - slow
          if (tookMs > slowestMs) [slowestMs, slowest] = [tookMs, fault]
        }
        const { requests } = server
        console.log(
          `      ${BURSTS} bursts, the slowest known after ${slowestMs.toFixed(0)} ms, with ${slowest} (limit ${LIMIT_MS} ms); ${requests.length} requests`,
        )
      } finally {
        await running.stop()
        await server.close()
        rmSync(folder, { recursive: true })
      }
    })
  }
})
