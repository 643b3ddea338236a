import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'
import { PICKERS, picker, preset, served } from './pickers.ts'
import {
  deployToolsAvailable,
  type Manifest,
  only,
  parseManifests,
  readManifests,
  template,
} from './tools.ts'

/** The profile that a ConfigMap or a chart's values hold, checked as `serve` does. */
const checked = (text: string) =>
  loadConfig(text, 'profile.yaml', builtinPlugins, new ModuleLoader(builtinPlugins))

describe('the manifests', function () {
  this.timeout(60_000)

  describe('start the picker with flags that it has, and say what they are meant to say', () => {
    for (const file of PICKERS) {
      it(file, () => {
        const objects = readManifests(file)
        const { args, ports } = picker(objects)
        const options = served(args)
        assert.deepEqual(options.flagWarnings, [])
        const service = only(objects, 'Service', only(objects, 'Deployment').metadata.name)
        for (const { port, targetPort } of service.spec.ports) {
          const { containerPort } = ports.find(({ name }: Manifest) => name === targetPort)
          assert.equal(containerPort, port)
        }
        const named = Object.fromEntries(
          ports.map(({ name, containerPort }: Manifest) => [name, containerPort]),
        )
        const { grpcPort, grpcHealthPort, metricsPort, kvEventsBind } = options
        assert.deepEqual(
          [named.grpc, named['grpc-health'], named.metrics],
          [grpcPort, grpcHealthPort, metricsPort],
        )
        assert.equal(kvEventsBind, named.zmq === undefined ? undefined : `tcp://*:${named.zmq}`)
      })
    }

    it('which pool in which namespace', () => {
      const kubernetes = (name: string) => served(picker(preset(name)).args).kubernetes
      const qwen3 = { namespace: 'default', name: 'qwen3' }
      const of = (group: string) => ({ namespace: 'default', pools: [qwen3], group })
      assert.deepEqual(kubernetes('llm-d'), of('inference.networking.k8s.io'))
      assert.deepEqual(kubernetes('v1alpha2'), of('inference.networking.x-k8s.io'))
      assert.deepEqual(kubernetes('ack'), {
        namespace: 'default',
        pools: [{ namespace: 'default', name: 'qwen-inference-pool' }],
      })
      assert.deepEqual(kubernetes('standalone'), {
        namespace: 'default',
        endpointSelector: 'app=qwen3',
        endpointTargetPorts: [8000],
      })
      assert.deepEqual(kubernetes('active-passive'), {
        ...of('inference.networking.k8s.io'),
        leaderElection: { leaseName: 'qwen3-epp', leaseDurationMs: 15_000 },
      })
    })

    it('several pools, a selector, several ports', function () {
      if (!deployToolsAvailable()) return this.skip()
      const options = (...set: readonly string[]) => {
        const { stdout, stderr } = template(['modelServers.matchLabels.app=qwen3', ...set])
        assert.equal(stderr, '')
        return served(picker(parseManifests(stdout)).args).kubernetes
      }
      assert.deepEqual(
        options('pool.name=a', 'pool.additional={b,c}')?.pools?.map(({ name }) => name),
        ['a', 'b', 'c'],
      )
      assert.equal(options('pool.selector=team=chat')?.poolSelector, 'team=chat')
      assert.deepEqual(
        options('standalone.enabled=true', 'modelServers.targetPorts={8000,8001}')
          ?.endpointTargetPorts,
        [8000, 8001],
      )
    })

    it('dialling, where every replica wants all events', () => {
      for (const name of ['active-passive', 'active-active']) {
        const { kvEventsBind, kvEventsDial } = served(picker(preset(name)).args)
        assert.deepEqual([kvEventsBind, kvEventsDial], [undefined, 5557], name)
      }
    })
  })

  describe('give a profile', () => {
    for (const file of PICKERS.filter((each) => !each.includes('ack'))) {
      it(`${file}: valid, without warnings`, async () => {
        const objects = readManifests(file)
        const { data, metadata } = only(
          objects,
          'ConfigMap',
          only(objects, 'Deployment').metadata.name,
        )
        const { warnings } = await checked(data['scheduler-profiles.yaml'])
        assert.deepEqual(warnings, [])
        const { configFile } = served(picker(objects).args)
        assert.equal(configFile, '/config/scheduler-profiles.yaml')
        const { volumes } = only(objects, 'Deployment').spec.template.spec
        const { configMap } = volumes.find(({ name }: Manifest) => name === 'config')
        assert.equal(configMap.name, metadata.name)
      })
    }

    it('but for ACK, where the InferenceTrafficPolicy is it', () => {
      const objects = readManifests('deploy/ack/picker.yaml')
      assert.equal(served(picker(objects).args).configFile, undefined)
      assert.ok(!objects.some(({ kind }) => kind === 'ConfigMap'))
    })

    it("in GIE's chart, whose values we give", async () => {
      const { inferenceExtension } = parse(
        readFileSync('deploy/llm-d/values-gie.yaml', 'utf8'),
      ) as Manifest
      const { pluginsConfigFile, pluginsCustomConfig } = inferenceExtension
      const { spec } = await checked(pluginsCustomConfig[pluginsConfigFile])
      assert.equal(spec.profiles.length, 1)
    })
  })

  describe('give tokenizers', () => {
    const pod = (...set: readonly string[]) => {
      const { stdout, stderr } = template(['modelServers.matchLabels.app=qwen3', ...set])
      assert.equal(stderr, '')
      const objects = parseManifests(stdout)
      return { ...only(objects, 'Deployment').spec.template.spec, args: picker(objects).args }
    }
    const mounts = ({ containers: [{ volumeMounts }] }: Manifest) =>
      volumeMounts.filter(({ name }: Manifest) => name === 'tokenizers')

    it('engine: nothing, the picker asks the engines', function () {
      if (!deployToolsAvailable()) return this.skip()
      const spec = pod()
      assert.deepEqual(mounts(spec), [])
      assert.equal(served(spec.args).tokenizersDir, undefined)
    })

    it('volume: mounted for reading, as a folder where it holds one model', function () {
      if (!deployToolsAvailable()) return this.skip()
      const claim = 'tokenizer.volume.persistentVolumeClaim.claimName=llm-model'
      const spec = pod('tokenizer.source=volume', claim, 'tokenizer.folder=Qwen3-32B')
      assert.deepEqual(mounts(spec), [
        { name: 'tokenizers', mountPath: '/tokenizers/Qwen3-32B', readOnly: true },
      ])
      assert.equal(served(spec.args).tokenizersDir, '/tokenizers')
      const volume = spec.volumes.find(({ name }: Manifest) => name === 'tokenizers')
      assert.deepEqual(volume.persistentVolumeClaim, { claimName: 'llm-model' })
    })

    it('hub: a container of the same image fetches them first', () => {
      const objects = preset('v1alpha2')
      const { initContainers } = only(objects, 'Deployment').spec.template.spec
      const [fetch] = initContainers
      assert.equal(fetch.image, picker(objects).image)
      assert.deepEqual(fetch.args, [
        ...['fetch-tokenizer', '--hub=huggingface', '--model=Qwen/Qwen3-32B'],
        ...['--name=Qwen3-32B', '--tokenizers-dir=/tokenizers'],
      ])
      assert.deepEqual(fetch.env, [
        {
          name: 'HF_TOKEN',
          valueFrom: { secretKeyRef: { name: 'llm-d-hf-token', key: 'HF_TOKEN' } },
        },
      ])
      const { tokenizersDir } = served(picker(objects).args)
      assert.equal(tokenizersDir, fetch.args.at(-1).split('=')[1])
    })

    it('hub: with flags that the command has', async () => {
      const { createProgram } = await import('../../src/cli/program.ts')
      const command = createProgram().commands.find((each) => each.name() === 'fetch-tokenizer')
      const { initContainers } = only(preset('v1alpha2'), 'Deployment').spec.template.spec
      const flags = initContainers[0].args
        .filter((arg: string) => arg.startsWith('--'))
        .map((arg: string) => arg.split('=')[0])
      assert.deepEqual(
        flags.filter((flag: string) => !command?.options.some(({ long }) => long === flag)),
        [],
      )
    })
  })
})
