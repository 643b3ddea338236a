import type { Answer, Page } from '../client.ts'
import { collectionPath, GROUP, RESOURCE, type Resource } from '../objects/resources.ts'
import type { Fields, Manifest } from './manifest.ts'
import { isFields, textOf, valueAt } from './manifest.ts'

/** What is needed of the API server's client. */
export interface ClusterClient {
  list(path: string, query: Readonly<Record<string, string>>): Promise<Answer<Page>>
}

/** What was found in a cluster. */
export interface ClusterObjects {
  readonly manifests: readonly Manifest[]
  /** Kinds that could not be read, in words. */
  readonly problems: readonly { readonly file: string; readonly message: string }[]
}

const PAGE_ITEMS = '500'
/** Where ACK's gateway runs its pickers. */
const PICKER_NAMESPACE = 'envoy-gateway-system'

const apps = (plural: string, kind: string): Resource => ({
  ...{ group: 'apps', version: 'v1', plural, kind },
})
const core = (plural: string, kind: string): Resource => ({
  ...{ group: '', version: 'v1', plural, kind },
})

/** The kinds that are held against each other. */
const KINDS: readonly Resource[] = [
  ...[RESOURCE.pools, RESOURCE.poolsAlpha, RESOURCE.policies],
  ...[apps('deployments', 'Deployment'), apps('statefulsets', 'StatefulSet')],
  apps('daemonsets', 'DaemonSet'),
  { ...apps('leaderworkersets', 'LeaderWorkerSet'), group: 'leaderworkerset.x-k8s.io' },
  ...[core('services', 'Service'), core('configmaps', 'ConfigMap')],
  { ...apps('httproutes', 'HTTPRoute'), group: 'gateway.networking.k8s.io' },
]
const PICKER_KINDS = new Set(['Deployment', 'Service', 'ConfigMap'])

/**
 * Reads the objects of a running cluster that are checked together: those of the pool's namespace, and the pickers of
 * ACK's gateway. A kind whose API is not served has none.
 */
export async function readCluster(
  client: ClusterClient,
  namespace: string,
): Promise<ClusterObjects> {
  const manifests: Manifest[] = []
  const problems: { file: string; message: string }[] = []
  const wanted = [
    ...KINDS.map((resource) => ({ resource, from: namespace })),
    ...(namespace === PICKER_NAMESPACE ? [] : KINDS)
      .filter(({ kind }) => PICKER_KINDS.has(kind))
      .map((resource) => ({ resource, from: PICKER_NAMESPACE })),
  ]
  for (const { resource, from } of wanted) {
    let continueToken = ''
    do {
      const answer: Answer<Page> = await client.list(collectionPath(resource, from), {
        limit: PAGE_ITEMS,
        ...(continueToken !== '' && { continue: continueToken }),
      })
      const { problem } = answer
      if (problem !== undefined) {
        if (problem.reason !== 'not_found') {
          problems.push({
            file: nameOf(resource, from),
            message: `cannot be read: ${problem.text}`,
          })
        }
        break
      }
      const { value } = answer
      manifests.push(...value.items.filter(isFields).map((item) => manifestOf(resource, item)))
      continueToken = value.continueToken
    } while (continueToken !== '')
  }
  return { manifests, problems }
}

function nameOf({ kind, group }: Resource, namespace: string): string {
  return `cluster/${namespace}/${kind}${group === GROUP.extension ? ` (${group})` : ''}`
}

/** Items of a list do not say their kind. There is no text in which something could have a place. */
function manifestOf(resource: Resource, item: Fields): Manifest {
  const { group, version, kind } = resource
  const namespace = textOf(valueAt(item, ['metadata', 'namespace'])) ?? 'default'
  const name = textOf(valueAt(item, ['metadata', 'name'])) ?? ''
  const start = { line: 1, column: 1 }
  return {
    file: `cluster/${namespace}/${kind}/${name}`,
    prefix: [],
    value: { ...item, apiVersion: group === '' ? version : `${group}/${version}`, kind },
    place: () => start,
    placeIn: () => start,
  }
}
