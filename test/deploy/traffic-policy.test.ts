import assert from 'node:assert/strict'
import { isFault } from '../../src/discovery/kubernetes/objects/field.ts'
import { readInferenceTrafficPolicy } from '../../src/discovery/kubernetes/objects/inference-traffic-policy.ts'
import { CustomResources } from './custom-resources.ts'
import { only, readManifests } from './tools.ts'

const shipped = only(readManifests('deploy/ack/inference-policy.yaml'), 'InferenceTrafficPolicy')
const policy = (spec: unknown) => ({ ...shipped, spec })
const prefixCache = (value: unknown) =>
  policy({ poolRef: { name: 'p' }, profile: { single: { trafficPolicy: { prefixCache: value } } } })
const tracking = (tokenProcessorConfig: unknown) =>
  prefixCache({ mode: 'tracking', trackingConfig: { tokenProcessorConfig } })

describe('the definition of InferenceTrafficPolicy', () => {
  const custom = new CustomResources()

  for (const [what, object] of [
    ["the documents' policy", shipped],
    [
      'tokenProcessorConfig beside an empty indexerConfig',
      prefixCache({
        mode: 'tracking',
        trackingConfig: {
          indexerConfig: {},
          tokenProcessorConfig: { blockSize: 64, hashSeed: 42, model: 'Qwen/Qwen3-32B' },
        },
      }),
    ],
    ['an indexerConfig of null', prefixCache({ trackingConfig: { indexerConfig: null } })],
    ['estimate', prefixCache({ mode: 'estimate' })],
    ['no profile', policy({ poolRef: { name: 'p' } })],
    ['a seed as text', tracking({ hashSeed: '42' })],
    [
      'fields that nobody here knows',
      policy({ poolRef: { name: 'p' }, profile: { pd: { a: 1 } }, loadBalance: {} }),
    ],
    ['the same inside', tracking({ blockSize: 1, window: 3 })],
  ] as const) {
    it(`takes ${what}, as the picker does`, () => {
      assert.deepEqual(custom.problems(object), [])
      assert.ok(!isFault(readInferenceTrafficPolicy(object)))
    })
  }

  for (const [what, object, problem] of [
    ['no pool', policy({}), "/spec must have required property 'poolRef'"],
    ['an empty pool name', policy({ poolRef: { name: '' } }), '/spec/poolRef/name must NOT have'],
    [
      'a block size as text',
      tracking({ blockSize: '64' }),
      '/spec/profile/single/trafficPolicy/prefixCache/trackingConfig/tokenProcessorConfig/blockSize must be integer',
    ],
    ['a block size of 0', tracking({ blockSize: 0 }), /blockSize must be >= 1/],
    [
      'a mode of its own',
      prefixCache({ mode: 'precise' }),
      /prefixCache\/mode must be equal to one/,
    ],
    ['a seed that is a list', tracking({ hashSeed: [42] }), /hashSeed must be integer,string/],
    ['a model that is empty', tracking({ model: '' }), /model must NOT have fewer/],
  ] as const) {
    it(`refuses ${what}, as the picker does`, () => {
      const problems = custom.problems(object).join('\n')
      if (typeof problem === 'string') assert.ok(problems.startsWith(problem), problems)
      else assert.match(problems, problem)
      assert.ok(isFault(readInferenceTrafficPolicy(object)))
    })
  }
})
