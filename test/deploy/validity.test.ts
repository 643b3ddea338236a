import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CustomResources } from './custom-resources.ts'
import { PICKERS, preset } from './pickers.ts'
import { deployToolsAvailable, kubernetesValidate, only, readManifests } from './tools.ts'

const FILES = [
  ...PICKERS,
  ...['llm-model', 'vllm', 'inference-policy', 'inference-gateway'].map(
    (name) => `deploy/ack/${name}.yaml`,
  ),
  ...['model-server', 'gateway'].map((name) => `deploy/llm-d/${name}.yaml`),
  'deploy/crds/inferencetrafficpolicies.yaml',
]

describe('the manifests', function () {
  this.timeout(60_000)

  describe('are valid', () => {
    const custom = new CustomResources()
    before(function () {
      if (!deployToolsAvailable()) this.skip()
    })

    it("against Kubernetes' own schemas, strictly; what those do not know has a definition", () => {
      const crds = readdirSync('test/fixtures/crds')
        .filter((file) => file.endsWith('.yaml'))
        .map((file) => `test/fixtures/crds/${file}`)
      const { status, stdout, stderr } = kubernetesValidate([...FILES, ...crds])
      const output = `${stdout}${stderr}`
      assert.equal(status, 0, output)
      const unknown = [...output.matchAll(/find schema for kind (\S+) with api version (\S+) /g)]
      const kinds = new Set(unknown.map(([, kind, apiVersion]) => `${apiVersion} ${kind}`))
      const mine = FILES.flatMap(readManifests).filter((object) => custom.knows(object))
      assert.deepEqual(
        [...kinds].sort(),
        [...new Set(mine.map(({ apiVersion, kind }) => `${apiVersion} ${kind}`))].sort(),
      )
      assert.ok(kinds.size >= 11, `${kinds.size} kinds of custom resources`)
    })

    it("against their definitions' schemas, strictly", () => {
      for (const file of FILES) {
        for (const object of readManifests(file).filter((each) => custom.knows(each))) {
          assert.deepEqual(custom.problems(object), [], `${file}: ${object.kind}`)
        }
      }
    })

    it('where one is not, that is found', () => {
      const folder = mkdtempSync(join(tmpdir(), 'epp-invalid-'))
      try {
        for (const [name, from, to] of [
          ['type', 'replicas: 1', 'replicas: "1"'],
          ['field', 'terminationGracePeriodSeconds:', 'terminationGracePeriod:'],
        ] as const) {
          const text = readFileSync('deploy/manifests/llm-d.yaml', 'utf8')
          assert.ok(text.includes(from))
          writeFileSync(join(folder, `${name}.yaml`), text.replace(from, to))
          assert.equal(kubernetesValidate([join(folder, `${name}.yaml`)]).status, 1, name)
        }
      } finally {
        rmSync(folder, { recursive: true })
      }
      const pool = only(preset('llm-d'), 'InferencePool')
      assert.deepEqual(custom.problems({ ...pool, spec: { ...pool.spec, targetPort: 1 } }), [
        '/spec must NOT have additional properties targetPort',
      ])
    })
  })
})
