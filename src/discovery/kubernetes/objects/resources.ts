/** One kind of object as the API server names it. */
export interface Resource {
  /** Empty for Kubernetes' own first objects. */
  readonly group: string
  readonly version: string
  readonly plural: string
  readonly kind: string
}

/** The API groups of the objects that are read. */
export const GROUP = {
  pools: 'inference.networking.k8s.io',
  extension: 'inference.networking.x-k8s.io',
  llmD: 'llm-d.ai',
  alibaba: 'inferenceextension.alibabacloud.com',
} as const

const resource = (group: string, version: string, plural: string, kind: string): Resource => ({
  group,
  version,
  plural,
  kind,
})

/** The kinds of objects that are read, with the versions in which they are. */
export const RESOURCE = {
  pods: resource('', 'v1', 'pods', 'Pod'),
  pools: resource(GROUP.pools, 'v1', 'inferencepools', 'InferencePool'),
  poolsAlpha: resource(GROUP.extension, 'v1alpha2', 'inferencepools', 'InferencePool'),
  objectives: resource(GROUP.llmD, 'v1alpha2', 'inferenceobjectives', 'InferenceObjective'),
  objectivesExtension: resource(
    GROUP.extension,
    'v1alpha2',
    'inferenceobjectives',
    'InferenceObjective',
  ),
  rewrites: resource(GROUP.llmD, 'v1alpha2', 'inferencemodelrewrites', 'InferenceModelRewrite'),
  rewritesExtension: resource(
    GROUP.extension,
    'v1alpha2',
    'inferencemodelrewrites',
    'InferenceModelRewrite',
  ),
  models: resource(GROUP.extension, 'v1alpha2', 'inferencemodels', 'InferenceModel'),
  policies: resource(
    GROUP.alibaba,
    'v1alpha1',
    'inferencetrafficpolicies',
    'InferenceTrafficPolicy',
  ),
} as const

/** The name by which people and metrics know it: `pods`, `inferencepools.inference.networking.k8s.io`. */
export function resourceName({ group, plural }: Resource): string {
  return group === '' ? plural : `${plural}.${group}`
}

/** The path under which the API server says which resources a group's version has. */
export function versionPath({ group, version }: Resource): string {
  return group === '' ? `/api/${version}` : `/apis/${group}/${version}`
}

/** The path of the resource's collection in one namespace. */
export function collectionPath(of: Resource, namespace: string): string {
  return `${versionPath(of)}/namespaces/${encodeURIComponent(namespace)}/${of.plural}`
}
