import assert from 'node:assert/strict'
import { isFault } from '../../../src/discovery/kubernetes/objects/field.ts'
import { readInferenceModel } from '../../../src/discovery/kubernetes/objects/inference-model.ts'
import { readInferenceModelRewrite } from '../../../src/discovery/kubernetes/objects/inference-model-rewrite.ts'
import { readInferenceObjective } from '../../../src/discovery/kubernetes/objects/inference-objective.ts'
import { readInferencePool } from '../../../src/discovery/kubernetes/objects/inference-pool.ts'
import { readInferenceTrafficPolicy } from '../../../src/discovery/kubernetes/objects/inference-traffic-policy.ts'
import { readLease } from '../../../src/discovery/kubernetes/objects/lease.ts'
import { readPod } from '../../../src/discovery/kubernetes/objects/pod.ts'
import { below, seeded } from '../../kvcache/random.ts'
import { podObject, poolObject, poolPart } from './cluster.ts'

const at = (object: object) => {
  assert.ok(!isFault(object), JSON.stringify(object))
  return object
}
const pool = (spec: object) =>
  readInferencePool({ apiVersion: 'g/v1', kind: 'InferencePool', metadata: { name: 'p' }, spec })
const V1 = { selector: { matchLabels: { app: 'x' } }, targetPorts: [{ number: 8000 }] }
const ALPHA = { selector: { app: 'x' }, targetPortNumber: 8000 }

describe('readInferencePool', () => {
  it('reads both versions', () => {
    const meta = { namespace: 'default', name: 'p', uid: '', createdAtMs: 0 }
    const same = { meta, group: 'g', selector: { app: 'x' }, targetPorts: [8000] }
    assert.deepEqual(pool(V1), { ...same, pickerService: undefined })
    assert.deepEqual(pool(ALPHA), { ...same, pickerService: undefined })
    assert.deepEqual(pool({ ...ALPHA, extensionRef: { name: 'e' } }), {
      ...{ ...same, pickerService: 'e' },
    })
    assert.deepEqual(pool({ ...V1, endpointPickerRef: { name: 'e', kind: 'Service' } }), {
      ...{ ...same, pickerService: 'e' },
    })
  })

  it('takes a label that is called matchLabels for what it is', () => {
    assert.deepEqual(
      (pool({ ...ALPHA, selector: { matchLabels: 'x' } }) as { selector: unknown }).selector,
      {
        matchLabels: 'x',
      },
    )
  })

  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ ...V1, selector: {} }, /^spec\.selector selects nothing/],
    [{ ...V1, selector: { matchLabels: {} } }, /^spec\.selector selects nothing/],
    [{ ...V1, selector: undefined }, /^spec\.selector selects nothing/],
    [
      { ...V1, selector: { matchLabels: { a: 'b' }, matchExpressions: [] } },
      /matchExpressions is not supported/,
    ],
    [
      { ...V1, selector: { matchLabels: { a: 1 } } },
      /matchLabels\.a must be a text, is 1; put it in quotation marks/,
    ],
    [{ ...V1, targetPorts: [] }, /has 0 ports; give from 1 to 8/],
    [
      { ...V1, targetPorts: Array.from({ length: 9 }, (_, i) => ({ number: 8000 + i })) },
      /has 9 ports/,
    ],
    [{ ...V1, targetPorts: [{ number: 1 }, { number: 1 }] }, /names port 1 twice/],
    [
      { ...V1, targetPorts: [{ number: '8000' }] },
      /^spec\.targetPorts\[0\]\.number must be a whole number from 1 to 65535, is "8000"$/,
    ],
    [{ ...V1, targetPorts: { number: 8000 } }, /^spec\.targetPorts must be a list, is an object$/],
    [{ ...ALPHA, targetPortNumber: 65536 }, /is 65536$/],
    [{ selector: { app: 'x' } }, /^spec\.targetPortNumber is missing$/],
  ]
  for (const [spec, message] of wrong) {
    it(`refuses ${JSON.stringify(spec).slice(0, 90)}`, () => {
      const read = pool(spec)
      assert.ok(isFault(read))
      assert.match(read.fault, message)
    })
  }
})

describe('readPod', () => {
  const address = (object: object) => (at(readPod(object)) as { address: unknown }).address

  it('has an address while it is ready and not being deleted', () => {
    assert.equal(address(podObject('a', '10.0.0.1')), '10.0.0.1')
    assert.equal(address(podObject('a', '10.0.0.1', { ready: false })), undefined)
    assert.equal(address(podObject('a', '10.0.0.1', { deletionTimestamp: 'x' })), undefined)
    assert.equal(address({ metadata: { name: 'a' } }), undefined)
    const ready = podObject('a', '').status as object
    assert.equal(address({ metadata: { name: 'a' }, status: ready }), undefined)
    const podIPs = [{ ip: 'FD00:0::5' }, { ip: '10.0.0.5' }]
    assert.equal(address({ metadata: { name: 'a' }, status: { ...ready, podIPs } }), 'fd00::5')
  })

  it('refuses an address or an active port that is none', () => {
    assert.match(
      (readPod(podObject('a', 'host')) as { fault: string }).fault,
      /is "host", which is no IP/,
    )
    const annotations = { 'llm-d.ai/active-ports': '8000,eighty' }
    const read = readPod(podObject('a', '10.0.0.1', { annotations }))
    assert.match((read as { fault: string }).fault, /has "eighty", which is no port$/)
  })

  it('prefers the newer annotation, and takes an empty one for no port at all', () => {
    const ports = (annotations: object) =>
      (at(readPod(podObject('a', '10.0.0.1', { annotations }))) as { activePorts: unknown })
        .activePorts
    const older = { 'inference.networking.k8s.io/active-ports': '1' }
    assert.deepEqual(ports({ ...older, 'llm-d.ai/active-ports': ' 8000, 8001 ' }), [8000, 8001])
    assert.deepEqual(ports({ 'llm-d.ai/active-ports': '' }), [])
    assert.equal(ports({}), undefined)
  })
})

describe('the other readers', () => {
  const bad: readonly (readonly [string, (object: unknown) => unknown, unknown, RegExp])[] = [
    [
      'priority',
      readInferenceObjective,
      poolPart('v', 'k', 'n', { priority: 1.5 }),
      /^spec\.priority must be/,
    ],
    [
      'match type',
      readInferenceModelRewrite,
      poolPart('v', 'k', 'n', {
        rules: [{ matches: [{ model: { type: 'Regex', value: 'x' } }], targets: [] }],
      }),
      /is "Regex"; only Exact is known/,
    ],
    [
      'no targets',
      readInferenceModelRewrite,
      poolPart('v', 'k', 'n', { rules: [{}] }),
      /^spec\.rules\[0\]\.targets is empty/,
    ],
    [
      'weight',
      readInferenceModel,
      poolPart('v', 'k', 'n', { modelName: 'm', targetModels: [{ name: 'x', weight: -1 }] }),
      /weight must be a whole number from 0/,
    ],
    [
      'criticality',
      readInferenceModel,
      poolPart('v', 'k', 'n', { modelName: 'm', criticality: 'High' }),
      /is "High"; use one of Critical, Standard, Sheddable$/,
    ],
    ['no name', readInferenceModel, { metadata: {}, spec: {} }, /^metadata\.name is missing$/],
    [
      'time',
      readInferenceObjective,
      { metadata: { name: 'n', creationTimestamp: 'noon' } },
      /creationTimestamp must be a time/,
    ],
  ]
  for (const [what, read, object, message] of bad) {
    it(`refuse a wrong ${what}`, () => {
      const fault = read(object)
      assert.ok(isFault(fault))
      assert.match(fault.fault, message)
    })
  }

  it('end in a value or a fault for whatever comes, nested deeper than a stack too', () => {
    const random = seeded(7)
    const upTo = below(random)
    const deep: unknown = JSON.parse(`${'['.repeat(50_000)}${']'.repeat(50_000)}`)
    const values = [null, undefined, 0, -1, 1e99, '', 'x', true, [], {}, [null], [[]], deep]
    const objects = [
      { ...podObject('a', '10.0.0.1', { annotations: { 'llm-d.ai/active-ports': '1' } }) },
      poolObject(),
      poolPart('a/v', 'k', 'n', {
        ...{ priority: 1, modelName: 'm', criticality: 'Critical', targetModels: [{ name: 'x' }] },
        rules: [{ matches: [{ model: { value: 'x' } }], targets: [{ modelRewrite: 'y' }] }],
        profile: {
          single: {
            trafficPolicy: {
              prefixCache: { mode: 'tracking', trackingConfig: { indexerConfig: {} } },
            },
          },
        },
      }),
    ]
    /** The same with one value somewhere in it replaced. */
    const broken = (value: unknown): unknown => {
      if (typeof value !== 'object' || value === null || random() < 0.15) {
        return values[upTo(values.length)]
      }
      const keys = Object.keys(value)
      const key = keys[upTo(keys.length)]
      const copy = (Array.isArray(value) ? [...value] : { ...value }) as Record<string, unknown>
      if (key !== undefined) copy[key] = broken(copy[key])
      return copy
    }
    const readers = [
      ...[readPod, readInferencePool, readInferenceObjective, readInferenceModelRewrite],
      ...[readInferenceModel, readInferenceTrafficPolicy, readLease],
    ]
    let faults = 0
    for (let i = 0; i < 3000; i++) {
      const object = broken(objects[upTo(objects.length)])
      for (const read of readers) {
        const outcome = read(object)
        if (isFault(outcome)) {
          faults++
          assert.ok(outcome.fault.length < 500, outcome.fault)
        }
      }
    }
    assert.ok(faults > 1000, `${faults} faults`)
  })
})
