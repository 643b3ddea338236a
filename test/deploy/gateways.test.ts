import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { envoyAvailable } from '../e2e/envoy.ts'
import { preset } from './pickers.ts'
import { type Manifest, only, readManifests, run } from './tools.ts'

const ENVOY = '.cache/envoy-1.40.0/envoy'

describe('the manifests', function () {
  this.timeout(60_000)

  describe('are named as the documents do', () => {
    it('ACK: epp-<pool namespace>-<pool>, in the namespace of the gateway', () => {
      const objects = readManifests('deploy/ack/picker.yaml')
      for (const kind of ['Deployment', 'Service']) {
        const { name, namespace } = only(objects, kind).metadata
        assert.equal(name, 'epp-default-qwen-inference-pool')
        assert.equal(namespace, 'envoy-gateway-system')
      }
    })

    it('llm-d: <release>-epp, its label, 9002, 9090 and 5557', () => {
      const objects = readManifests('deploy/llm-d/picker.yaml')
      const { metadata, spec } = only(objects, 'Deployment')
      assert.equal(metadata.name, 'gaie-kv-events-epp')
      assert.equal(spec.template.metadata.labels.inferencepool, 'gaie-kv-events-epp')
      const service = only(objects, 'Service')
      assert.equal(service.metadata.name, 'gaie-kv-events-epp')
      assert.deepEqual(
        service.spec.ports.map(({ port }: Manifest) => port),
        [9002, 9090, 5557],
      )
      assert.deepEqual(service.spec.selector, { inferencepool: 'gaie-kv-events-epp' })
      const pool = only(objects, 'InferencePool')
      assert.equal(pool.metadata.name, 'gaie-kv-events')
      assert.equal(pool.spec.extensionRef.name, 'gaie-kv-events-epp')
    })
  })

  describe('suit their gateway', () => {
    const grpc = (name: string) =>
      only(preset(name), 'Service', 'qwen3-epp').spec.ports.find(
        ({ port }: Manifest) => port === 9002,
      ).appProtocol

    it('Istio: TLS without a check of the certificate', () => {
      const { host, trafficPolicy } = only(preset('istio'), 'DestinationRule').spec
      assert.equal(host, 'qwen3-epp.default.svc.cluster.local')
      assert.deepEqual(trafficPolicy.tls, { mode: 'SIMPLE', insecureSkipVerify: true })
      assert.equal(grpc('istio'), 'http2')
    })

    it('GKE: health and time limit of the pool, its name for HTTP/2', () => {
      const pool = only(preset('gke'), 'InferencePool')
      const target = {
        ...{ group: 'inference.networking.k8s.io', kind: 'InferencePool' },
        name: pool.metadata.name,
      }
      const health = only(preset('gke'), 'HealthCheckPolicy').spec
      assert.deepEqual(health.targetRef, target)
      assert.equal(health.default.config.httpHealthCheck.port, pool.spec.targetPorts[0].number)
      const backend = only(preset('gke'), 'GCPBackendPolicy').spec
      assert.deepEqual(backend.targetRef, target)
      assert.equal(backend.default.timeoutSec, 300)
      assert.equal(grpc('gke'), 'kubernetes.io/h2c')
    })

    it('Envoy Gateway: no limit of 15 s', () => {
      const { targetRefs, timeout } = only(preset('envoy-gateway'), 'BackendTrafficPolicy').spec
      assert.equal(targetRefs[0].name, 'inference-gateway')
      assert.equal(timeout.http.requestTimeout, '24h')
    })

    it('none: Envoy beside the picker takes its bootstrap', function () {
      const objects = preset('standalone')
      const { spec } = only(objects, 'Deployment').spec.template
      assert.equal(spec.containers.length, 2)
      const bootstrap = only(objects, 'ConfigMap', 'qwen3-epp-envoy').data['envoy.yaml']
      const { address } = parse(bootstrap).static_resources.listeners[0]
      assert.deepEqual(address.socket_address, {
        address: '::',
        port_value: 8081,
        ipv4_compat: true,
      })
      const service = only(objects, 'Service', 'qwen3-gateway').spec
      assert.equal(service.ports[0].port, 80)
      assert.equal(service.ports[0].targetPort, 'http')
      assert.deepEqual(service.selector, only(objects, 'Service', 'qwen3-epp').spec.selector)
      if (!envoyAvailable()) return this.skip()
      const folder = mkdtempSync(join(tmpdir(), 'epp-bootstrap-'))
      writeFileSync(join(folder, 'envoy.yaml'), bootstrap)
      const { status, stderr } = run(ENVOY, [
        ...['--mode', 'validate', '-c', join(folder, 'envoy.yaml')],
      ])
      rmSync(folder, { recursive: true })
      assert.equal(status, 0, stderr)
    })
  })

  describe('of several replicas', () => {
    it('active-passive: no budget, and never a third one', () => {
      const objects = preset('active-passive')
      assert.ok(!objects.some(({ kind }) => kind === 'PodDisruptionBudget'))
      assert.equal(only(objects, 'Deployment').spec.strategy.type, 'Recreate')
    })

    it('active-active: one at a time', () => {
      const objects = preset('active-active')
      const budget = only(objects, 'PodDisruptionBudget').spec
      assert.equal(budget.maxUnavailable, 1)
      const { strategy, replicas, selector } = only(objects, 'Deployment').spec
      assert.deepEqual(strategy, {
        type: 'RollingUpdate',
        rollingUpdate: { maxUnavailable: 0, maxSurge: 1 },
      })
      assert.equal(replicas, 2)
      assert.deepEqual(budget.selector, selector)
    })
  })
})
