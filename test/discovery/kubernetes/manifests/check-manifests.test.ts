import assert from 'node:assert/strict'
import { readInputs } from '../../../../src/cli/check-inputs.ts'
import { checkInputs } from '../../../../src/cli/run-check.ts'
import { readDocuments } from '../../../../src/config/document.ts'
import { problemLine } from '../../../../src/config/problem.ts'
import { seededRandom } from '../../../../src/framework/random.ts'
import { BROKEN_VARIANTS } from './broken-variants.ts'
import { documentManifests } from './documents.ts'

/** Every problem of files that are checked together, as `severity: file:line:column  path: message`. */
async function problemsOf(
  files: Iterable<readonly [file: string, text: string]>,
  namespace = 'default',
): Promise<string[]> {
  const texts = [...files].map(([file, text]) => ({ file, text, named: true }))
  const { problems } = await checkInputs({ texts, problems: [] }, { strict: false, namespace })
  return problems.map((problem) => `${problem.severity}: ${problemLine(problem)}`)
}

/** A text with one part of it replaced, which must be there once. */
function edited(text: string, find: string, replacement: string): string {
  assert.equal(text.split(find).length, 2, `"${find}" is there once`)
  return text.replace(find, () => replacement)
}

const POOL = `
apiVersion: inference.networking.k8s.io/v1
kind: InferencePool
metadata: { name: pool }
spec:
  selector: { matchLabels: { app: llm } }
  targetPorts: [{ number: 8000 }]
`

/** A Deployment of one container with that command and what else is given of it. */
function deployment(command: readonly string[], rest = '', image = 'vllm/vllm-openai:v0.30.0') {
  return `
apiVersion: apps/v1
kind: Deployment
metadata: { name: llm }
spec:
  template:
    metadata: { labels: { app: llm } }
    spec:
      containers:
        - name: vllm
          image: ${image}
          ${image.includes('openai') && !/^(sh|vllm|bash)/.test(command[0]!) ? 'args' : 'command'}: ${JSON.stringify(command)}
          env:
            - { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
            - { name: PYTHONHASHSEED, value: '42' }
${rest}`
}

const events = (endpoint: string, topic: string) =>
  JSON.stringify({ enable_kv_cache_events: true, publisher: 'zmq', endpoint, topic })

/** Puts something odd in place of a random part of a value. */
function spoil(
  value: object,
  pick: <T>(list: readonly T[]) => T,
  odd: () => unknown,
  random: () => number,
): void {
  let holder = value as Record<string, unknown>
  for (;;) {
    const key = pick(Object.keys(holder))
    if (key === undefined) return
    const inner = holder[key]
    const leaf = typeof inner !== 'object' || inner === null || Object.keys(inner).length === 0
    if (leaf || random() < 0.15) {
      holder[key] = odd()
      return
    }
    holder = inner as Record<string, unknown>
  }
}

describe('checkManifests', () => {
  it("finds nothing wrong with the documents' manifests", async () => {
    const files = documentManifests('ack-precise-mode')
    assert.deepEqual(
      [...files.keys()],
      ['llm-model.yaml', 'vllm.yaml', 'inference-policy.yaml', 'inference-gateway.yaml'],
    )
    assert.deepEqual(await problemsOf(files), [])
  })

  it("finds the article's one slip, and says the line to write instead", async () => {
    const files = documentManifests('ack-article')
    assert.equal(files.size, 4)
    const problems = await problemsOf(files)
    assert.deepEqual(problems, [
      'error: vllm.yaml:32:189  spec.template.spec.containers[0].command[2]: --kv-events-config: topic has $' +
        '{POD_IP} inside single quotes, where the shell does not expand it; write --kv-events-config ' +
        '"{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"endpoint\\":\\"tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557\\",\\"topic\\":\\"kv@$' +
        '{POD_IP}@Qwen3-32B\\"}" \\',
    ])
    const vllm = files.get('vllm.yaml')!
    const [, line] = /write (--kv-events-config .*)$/.exec(problems[0]!)!
    const wrong = vllm.split('\n').find((each) => each.includes('--kv-events-config'))!
    files.set('vllm.yaml', edited(vllm, wrong.trim(), line!))
    assert.deepEqual(await problemsOf(files), [])
  })

  it('finds nothing wrong with deploy/ack/', async () => {
    const inputs = readInputs(['deploy/ack'])
    const { problems, report } = await checkInputs(inputs, { strict: false, namespace: 'default' })
    assert.deepEqual(problems.map(problemLine), [])
    assert.equal(report.engines.length, 1)
    assert.equal(report.pools.length, 1)
  })

  assert.ok(BROKEN_VARIANTS.length >= 25)
  for (const { name, edits, added, problems } of BROKEN_VARIANTS) {
    it(`finds ${name}`, async () => {
      const files = documentManifests('ack-precise-mode')
      for (const [file, find, replacement] of edits) {
        files.set(file, edited(files.get(file)!, find, replacement))
      }
      assert.notEqual(problems.length, 0)
      assert.deepEqual(await problemsOf([...files, ...Object.entries(added ?? {})]), problems)
    })
  }

  it('says how Kubernetes expands a variable where there is no shell', async () => {
    const topic = 'kv@$'.concat('{POD_IP}@m')
    const command = ['vllm', 'serve', 'm', '--kv-events-config', events('tcp://p-epp:5557', topic)]
    assert.deepEqual(await problemsOf([['a.yaml', deployment(command)]]), [
      `error: a.yaml:12:166  spec.template.spec.containers[0].command[4]: --kv-events-config: topic has $${'{POD_IP}'}, which only a shell would expand, and there is none; write $(POD_IP), which Kubernetes expands`,
    ])
    const right = command.map((word) => word.replace(/\$\{(.*?)\}/, '$($1)'))
    assert.deepEqual(await problemsOf([['a.yaml', deployment(right)]]), [])
  })

  it('reads flags from the args of an image whose entry point is the server', async () => {
    const args = ['--model', 'm', '--port', '9000', '--block_size=0x10']
    assert.deepEqual(
      await problemsOf([
        ['p.yaml', POOL],
        ['v.yaml', deployment(args)],
      ]),
      [
        'error: p.yaml:7:27  spec.targetPorts[0].number: is 8000, but container "vllm" of Deployment llm has --port 9000 (v.yaml:12); write 9000, or --port 8000 there',
        'error: v.yaml:12:62  spec.template.spec.containers[0].args[4]: --block-size must be a whole number of tokens, got "0x10"',
      ],
    )
  })

  it('takes the port of a container beside the engine, and of its ranks', async () => {
    const beside = '        - { name: proxy, image: p, ports: [{ containerPort: 8000 }] }\n'
    const alone = ['--model', 'm', '--port', '8200']
    assert.deepEqual(
      await problemsOf([
        ['p.yaml', POOL],
        ['v.yaml', deployment(alone, beside)],
      ]),
      [],
    )
    const ranks = POOL.replace('[{ number: 8000 }]', '[{ number: 8000 }, { number: 8001 }]')
    const two = ['--model', 'm', '-dp', '2']
    assert.deepEqual(
      await problemsOf([
        ['p.yaml', ranks],
        ['v.yaml', deployment(two)],
      ]),
      [],
    )
    assert.equal(
      (
        await problemsOf([
          ['p.yaml', ranks],
          ['v.yaml', deployment(alone)],
        ])
      ).length,
      1,
    )
  })

  it("reads a picker's profile from its ConfigMap, at its place in the manifest", async () => {
    const configMap = `
apiVersion: v1
kind: ConfigMap
metadata: { name: profile }
data:
  profile.yaml: |
    kind: EndpointPickerConfig
    schedulingProfiles:
      - name: default
        plugins:
          - type: precise-prefix-cache-scorer
            weigth: 3
            parameters:
              tokenProcessorConfig: { blockSize: 64 }
              kvEventsConfig: { discoverPods: true, podDiscoveryConfig: { socketPort: 5556 } }
`
    const command = ['vllm', 'serve', 'm', '--kv-events-config']
    const dialled = [...command, events('tcp://p-epp:5557', 'kv@$(POD_IP):8000@m')]
    assert.deepEqual(
      await problemsOf([
        ['c.yaml', configMap],
        ['p.yaml', POOL],
        ['v.yaml', deployment(dialled)],
      ]),
      [
        'error: c.yaml:12:13  schedulingProfiles[0].plugins[0].weigth: unknown field "weigth"; did you mean "weight"?',
        'error: c.yaml:14:50  schedulingProfiles[0].plugins[0].parameters.tokenProcessorConfig.blockSize: is 64, but container "vllm" of Deployment llm has no --block-size, which makes it 16 on GPUs; add --block-size 64 there',
        'error: v.yaml:12:132  spec.template.spec.containers[0].command[4]: --kv-events-config: endpoint connects to "tcp://p-epp:5557", and the picker dials the engines, so that neither listens; write "tcp://*:5556"',
      ],
    )
    const bound = [...command, events('tcp://*:5556', 'kv@$(POD_IP):8000@m'), '--block-size', '64']
    assert.deepEqual(
      await problemsOf([
        ['c.yaml', configMap.replace('weigth', 'weight')],
        ['p.yaml', POOL],
        ['v.yaml', deployment(bound)],
      ]),
      [],
    )
  })

  it('reads lists as kubectl writes them, JSON, and several documents in one file', async () => {
    const list = JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'List' },
      items: [
        {
          ...{ apiVersion: 'inference.networking.k8s.io/v1', kind: 'InferencePool' },
          metadata: { name: 'pool' },
          spec: { selector: {}, targetPorts: [{ number: 8000 }] },
        },
      ],
    })
    assert.deepEqual(await problemsOf([['list.json', list]]), [
      'error: list.json:1:159  items[0].spec.selector: selects nothing in particular; give at least one label',
    ])
    const both = `${deployment(['--model', 'm'])}---${POOL.replace('8000', '8001')}`
    assert.match((await problemsOf([['both.yaml', both]])).join('\n'), /^error: both\.yaml:22:27 /)
  })

  it('takes --namespace for objects that name none', async () => {
    const pool = POOL.replace('name: pool', 'name: pool, namespace: prod')
    const files = [
      ['p.yaml', pool],
      ['v.yaml', deployment(['--model', 'm'])],
    ] as const
    assert.deepEqual(await problemsOf(files, 'prod'), [])
    assert.match((await problemsOf(files)).join('\n'), /no pods in namespace "prod" have app=llm/)
  })

  it('never throws, whatever stands where something else belongs', async function () {
    this.timeout(60_000)
    const source = seededRandom(20_261_121)
    const random = () => source.next()
    const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
    const odd = [
      null,
      true,
      -1,
      1e300,
      '',
      '{',
      '$(',
      "'",
      'a\u0000b',
      [],
      [[]],
      {},
      { a: {} },
      [null],
    ]
    const documents = [
      ...[...documentManifests('ack-article')].flatMap(([, text]) => readDocuments(text)),
      ...readInputs(['deploy/ack']).texts.flatMap(({ text }) => readDocuments(text)),
    ].map(({ value }) => JSON.stringify(value))
    let problems = 0
    for (let round = 0; round < 150; round++) {
      const texts = documents.map((text, i) => {
        const value = JSON.parse(text) as object
        for (let n = 0; n < 2; n++) spoil(value, pick, () => structuredClone(pick(odd)), random)
        return { file: `${i}.json`, text: JSON.stringify(value), named: false }
      })
      const options = { strict: false, namespace: 'default' }
      const checked = await checkInputs({ texts, problems: [] }, options)
      for (const { line, column } of checked.problems) assert.ok(line > 0 && column > 0)
      problems += checked.problems.length
    }
    assert.ok(problems > 150, `${problems} problems`)
  })

  it('names what it cannot read, and goes on', async () => {
    const problems = await problemsOf([
      ['a.yaml', 'apiVersion: v1\nkind: a: b\n'],
      ['b.yaml', `${POOL.replace('matchLabels', 'matchExpressions')}`],
      ['c.yaml', deployment(['sh', '-c', "vllm serve 'm"])],
      ['d.yaml', 'some: text\n---\n- 1\n'],
    ])
    assert.deepEqual(problems, [
      'error: a.yaml:2:7  not YAML: nested mappings are not allowed in compact mappings',
      'error: b.yaml:6:33  spec.selector.matchExpressions: must be a text, is an object; put it in quotation marks',
      'error: c.yaml:12:43  spec.template.spec.containers[0].command[2]: a single quote is not closed; add the second one',
      'warning: d.yaml:1:1  is neither a Kubernetes object nor a configuration, and is not looked at',
      'warning: d.yaml:3:1  is neither a Kubernetes object nor a configuration, and is not looked at',
    ])
  })
})
