import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse, parseDocument } from 'yaml'
import { deployToolsAvailable, helm, only, parseManifests, run, template } from './tools.ts'

const CHART = 'deploy/charts/endpoint-picker'
const PRESETS = readdirSync(`${CHART}/presets`).map((file) => file.replace(/\.yaml$/, ''))
const ENGINES = 'modelServers.matchLabels.app=qwen3'
const read = (file: string) => readFileSync(file, 'utf8')

/** Values that cannot work, and what the chart says about them. */
const WRONG: readonly { readonly set: readonly string[]; readonly says: RegExp }[] = [
  {
    set: [ENGINES, 'availability.mode=active-active', 'availability.replicas=2'],
    says: /active-active cannot work with kvEvents\.mode bind: .*; set kvEvents\.mode to dial/,
  },
  {
    set: [ENGINES, 'availability.replicas=2'],
    says: /availability\.replicas is 2 in mode single, .*set availability\.mode/,
  },
  {
    set: [ENGINES, 'availability.mode=active-passive'],
    says: /active-passive needs availability\.replicas of 2 or more, not 1/,
  },
  { set: [], says: /modelServers\.matchLabels is empty: .*such as app: qwen3/ },
  {
    set: ['inferencePool.create=false'],
    says: /KV event port to the model servers and needs their labels/,
  },
  { set: ['naming=ack', ENGINES], says: /naming ack needs pool\.name/ },
  {
    set: ['naming=ack', ENGINES, `pool.name=${'p'.repeat(60)}`],
    says: /epp-default-p+ is 72 characters long.* at most 63/,
  },
  {
    set: ['naming=ack', ENGINES, 'pool.name=p', 'inferencePool.create=true'],
    says: /the InferencePool does not belong/,
  },
  {
    set: ['naming=ack', ENGINES, 'pool.name=p', 'pool.selector=a=b'],
    says: /made of one pool's name/,
  },
  {
    set: [ENGINES, 'pool.selector=team=chat', 'pool.name=p'],
    says: /pool\.selector \(team=chat\) stands instead of pool\.name/,
  },
  {
    set: [
      ENGINES,
      'pool.selector=a=b',
      'inferenceObjectives.items[0].name=o',
      'inferenceObjectives.items[0].priority=1',
    ],
    says: /inferenceObjectives belong to one pool/,
  },
  {
    set: [ENGINES, 'pool.namespace=models'],
    says: /both must be in one; install the release into models/,
  },
  {
    set: [ENGINES, 'pool.group=inference.networking.x-k8s.io'],
    says: /leave pool\.group empty/,
  },
  {
    set: [
      ENGINES,
      'inferencePool.apiVersion=inference.networking.x-k8s.io/v1alpha2',
      'modelServers.targetPorts={8000,8001}',
    ],
    says: /has one port, modelServers\.targetPorts has 2/,
  },
  {
    set: [ENGINES, 'standalone.enabled=true', 'provider.name=istio'],
    says: /standalone needs no gateway and no CRDs/,
  },
  { set: ['standalone.enabled=true', 'kvEvents.mode=dial'], says: /finds the model servers by/ },
  { set: [ENGINES, 'standalone.enabled=true', 'tls.enabled=false'], says: /speaks TLS/ },
  {
    set: [
      ...[ENGINES, 'standalone.enabled=true', 'kvEvents.mode=dial'],
      ...['availability.mode=active-passive', 'availability.replicas=2'],
    ],
    says: /an Envoy beside each picker/,
  },
  {
    set: [ENGINES, 'provider.name=envoy-gateway'],
    says: /set provider\.envoyGateway\.gatewayName/,
  },
  {
    set: [ENGINES, 'provider.name=gke', 'inferencePool.create=false'],
    says: /attaches its policies to one InferencePool: set pool\.name/,
  },
  { set: [ENGINES, 'tokenizer.source=volume'], says: /needs tokenizer\.volume, such as/ },
  { set: [ENGINES, 'tokenizer.source=hub'], says: /needs tokenizer\.hub\.model .* and tokenizer/ },
  {
    set: ['naming=ack', ENGINES, 'pool.name=p', 'configFiles.x=y'],
    says: /configFiles lie beside a profile, and there is none: set config/,
  },
  { set: [ENGINES, 'availability.mode=actve'], says: /availability\.mode/ },
  { set: [ENGINES, 'replicas=2'], says: /replicas/ },
  { set: [ENGINES, 'kvEvents.port=0'], says: /kvEvents\.port/ },
  { set: [ENGINES, 'modelServers.targetPorts={1,2,3,4,5,6,7,8,9}'], says: /targetPorts/ },
]

describe('the Helm chart', function () {
  this.timeout(60_000)
  before(function () {
    if (!deployToolsAvailable()) this.skip()
  })

  it('has the version of the package', () => {
    const { version } = JSON.parse(read('package.json')) as { version: string }
    const chart = parse(read(`${CHART}/Chart.yaml`)) as Record<string, unknown>
    assert.deepEqual([chart.version, chart.appVersion], [version, version])
  })

  it('carries the shipped profile and the shipped Envoy bootstrap, unchanged', () => {
    for (const [copy, original] of [
      ['scheduler-profiles.yaml', 'config/scheduler-profiles.yaml'],
      ['envoy.yaml', 'deploy/envoy/bootstrap.yaml'],
    ] as const) {
      assert.equal(
        read(`${CHART}/files/${copy}`),
        read(original),
        `${copy} is stale; run scripts/render-manifests.sh`,
      )
    }
  })

  it('lints with every preset, strictly', () => {
    const files = [
      ...PRESETS.map((name) => `${CHART}/presets/${name}.yaml`),
      'deploy/llm-d/values.yaml',
    ]
    for (const file of files) {
      const { status, stdout, stderr } = helm('lint', '--strict', CHART, '-f', file)
      assert.equal(status, 0, `${file}: ${stdout}${stderr}`)
    }
  })

  it('renders to the manifests that are shipped', () => {
    const folder = mkdtempSync(join(tmpdir(), 'epp-manifests-'))
    try {
      const { status, stderr } = run('scripts/render-manifests.sh', [folder])
      assert.equal(status, 0, stderr)
      const rendered = readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.yaml'))
        .sort()
      for (const file of rendered) {
        assert.ok(
          read(join(folder, file)) === read(join('deploy', file)),
          `deploy/${file} is stale; run scripts/render-manifests.sh`,
        )
      }
      assert.deepEqual(
        rendered.filter((file) => file.startsWith('manifests/')),
        readdirSync('deploy/manifests')
          .map((file) => `manifests/${file}`)
          .sort(),
      )
      assert.deepEqual(
        readdirSync('deploy/manifests').sort(),
        PRESETS.map((name) => `${name}.yaml`).sort(),
      )
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  for (const { set, says } of WRONG) {
    it(`refuses ${set.map((each) => each.slice(0, 60)).join(' ') || 'no values'}`, () => {
      const { status, stderr } = template(set)
      assert.notEqual(status, 0)
      assert.match(stderr, says)
    })
  }

  it('describes every value in its schema, and no other', () => {
    interface Node {
      readonly properties?: Readonly<Record<string, Node>>
    }
    const described = (node: Node, path: string): readonly string[] =>
      node.properties === undefined
        ? [path]
        : Object.entries(node.properties).flatMap(([key, inner]) =>
            described(inner, `${path}.${key}`),
          )
    const schema = JSON.parse(read(`${CHART}/values.schema.json`)) as Node
    const paths = described(schema, '').filter((path) => path !== '.global')
    const values = parseDocument(read(`${CHART}/values.yaml`))
    assert.deepEqual(
      paths.filter((path) => !values.hasIn(path.slice(1).split('.'))),
      [],
    )
    // The other way round is what every rendering does: the schema takes no unknown values.
    assert.ok(paths.length > 50, `${paths.length} values`)
  })

  it('takes a profile and a plugin beside it', () => {
    const { status, stdout, stderr } = template([
      ...[ENGINES, 'config=schedulingProfiles: []', 'configFiles.my-scorer\\.ts=export default 1'],
    ])
    assert.equal(status, 0, stderr)
    assert.deepEqual(only(parseManifests(stdout), 'ConfigMap').data, {
      'scheduler-profiles.yaml': 'schedulingProfiles: []\n',
      'my-scorer.ts': 'export default 1\n',
    })
  })
})
