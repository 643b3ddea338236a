import assert from 'node:assert/strict'
import { RESOURCE } from '../../src/discovery/kubernetes/objects/resources.ts'
import { definitions } from './custom-resources.ts'
import { PICKERS, picker, preset, served } from './pickers.ts'
import { type Manifest, only, readManifests } from './tools.ts'

describe('the manifests', function () {
  this.timeout(60_000)

  describe('are as closed as can be', () => {
    const rights = ({ rules }: Manifest) =>
      (rules as Manifest[])
        .flatMap(({ apiGroups, resources }) =>
          apiGroups.flatMap((group: string) =>
            resources.map((resource: string) => (group ? `${resource}.${group}` : resource)),
          ),
        )
        .sort()
    const read = [
      ...new Set(
        Object.values(RESOURCE).map(({ group, plural }) => (group ? `${plural}.${group}` : plural)),
      ),
    ].sort()

    it('the Role: what discovery reads, in the namespace of the pool', () => {
      const objects = readManifests('deploy/ack/picker.yaml')
      const role = only(objects, 'Role')
      assert.deepEqual(rights(role), read)
      assert.deepEqual(
        [...new Set(role.rules.flatMap(({ verbs }: Manifest) => verbs))],
        ['get', 'list', 'watch'],
      )
      const binding = only(objects, 'RoleBinding')
      assert.equal(role.metadata.namespace, 'default')
      assert.equal(binding.metadata.namespace, 'default')
      assert.equal(binding.roleRef.name, role.metadata.name)
      const account = only(objects, 'ServiceAccount').metadata
      assert.equal(account.namespace, 'envoy-gateway-system')
      assert.deepEqual(binding.subjects, [
        { kind: 'ServiceAccount', name: account.name, namespace: account.namespace },
      ])
      assert.equal(only(objects, 'Deployment').spec.template.spec.serviceAccountName, account.name)
    })

    it('a definition of every kind that is read, in the version that is read', () => {
      const served = definitions().flatMap(({ spec }) =>
        spec.versions.map(({ name }: Manifest) => `${spec.group} ${name} ${spec.names.plural}`),
      )
      const wanted = Object.values(RESOURCE).filter(({ group }) => group !== '')
      assert.deepEqual(
        wanted
          .map(({ group, version, plural }) => `${group} ${version} ${plural}`)
          .filter((each) => !served.includes(each)),
        [],
      )
    })

    it('pods alone without pools; a Lease where replicas take turns, and nowhere else', () => {
      assert.deepEqual(rights(only(preset('standalone'), 'Role')), ['pods'])
      for (const file of PICKERS) {
        const leases = readManifests(file)
          .filter(({ kind }) => kind === 'Role')
          .flatMap(({ rules }) => rules)
          .filter(({ apiGroups }: Manifest) => apiGroups.includes('coordination.k8s.io'))
        if (!file.includes('active-passive')) assert.deepEqual(leases, [], file)
        else {
          assert.deepEqual(leases, [
            { apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['create'] },
            {
              ...{ apiGroups: ['coordination.k8s.io'], resources: ['leases'] },
              ...{ resourceNames: ['qwen3-epp'], verbs: ['get', 'update'] },
            },
          ])
        }
      }
    })

    it('pods: nobody in particular, nothing to write but /tmp, time to drain', () => {
      for (const file of PICKERS) {
        const { spec } = only(readManifests(file), 'Deployment').spec.template
        assert.equal(spec.securityContext.runAsNonRoot, true)
        assert.ok(spec.securityContext.runAsUser > 0)
        assert.equal(spec.securityContext.seccompProfile.type, 'RuntimeDefault')
        for (const container of [...spec.containers, ...(spec.initContainers ?? [])]) {
          assert.deepEqual(container.securityContext, {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          })
          assert.ok(container.resources.requests.memory && container.resources.limits.memory)
        }
        const { drainTimeout } = served(picker(readManifests(file)).args)
        const preStop = Math.max(
          ...spec.containers.map(({ lifecycle }: Manifest) => lifecycle.preStop.sleep.seconds),
        )
        const graceMs = spec.terminationGracePeriodSeconds * 1000
        assert.ok(graceMs > drainTimeout && graceMs > preStop * 1000, file)
      }
    })

    it("the KV event port: open to the pool's pods alone, and only where it is bound", () => {
      for (const file of PICKERS) {
        const objects = readManifests(file)
        const { spec } = only(objects, 'NetworkPolicy')
        const pod = only(objects, 'Deployment').spec.template.metadata.labels
        for (const [label, value] of Object.entries(spec.podSelector.matchLabels)) {
          assert.equal(pod[label], value)
        }
        const open = spec.ingress.map(({ ports: [{ port }], from }: Manifest) => [port, from])
        const engines = file.includes('llm-d/')
          ? { 'llm-d.ai/inferenceServing': 'true' }
          : { app: 'qwen3' }
        const namespace = file.includes('llm-d/') ? 'llm-d-precise' : 'default'
        const bound = served(picker(objects).args).kvEventsBind !== undefined
        assert.deepEqual(open, [
          ...[9002, 9003, 9090, ...(file.includes('standalone') ? [8081] : [])].map((port) => [
            port,
            undefined,
          ]),
          ...(bound
            ? [
                [
                  5557,
                  [
                    {
                      namespaceSelector: {
                        matchLabels: { 'kubernetes.io/metadata.name': namespace },
                      },
                      podSelector: { matchLabels: engines },
                    },
                  ],
                ],
              ]
            : []),
        ])
      }
    })
  })
})
