/** One way to spoil the documents' manifests, and every problem that is then there. */
export interface BrokenVariant {
  readonly name: string
  /** Text to find (once) and its replacement, by file. */
  readonly edits: readonly (readonly [file: string, find: string, replace: string])[]
  /** Files beside the documents' own. */
  readonly added?: Readonly<Record<string, string>>
  /** `severity: file:line:column  path: message`, in order. */
  readonly problems: readonly string[]
}

const V = 'vllm.yaml'
const P = 'inference-policy.yaml'
const G = 'inference-gateway.yaml'
/** As the documents write it. */
const TOPIC = `kv@\${POD_IP}@Qwen3-32B`
/** The value of --kv-events-config. */
const EVENTS = `"{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"endpoint\\":\\"tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557\\",\\"topic\\":\\"${TOPIC}\\"}"`
const SECOND_POLICY = `apiVersion: inferenceextension.alibabacloud.com/v1alpha1
kind: InferenceTrafficPolicy
metadata:
  name: second
spec:
  poolRef:
    name: qwen-inference-pool
`
const PICKER = `apiVersion: apps/v1
kind: Deployment
metadata:
  name: epp-default-qwen-inference-pool
  namespace: envoy-gateway-system
spec:
  replicas: 3
  template:
    metadata:
      labels:
        app: picker
    spec:
      containers:
        - name: picker
          image: endpoint-picker:1.0
          args:
            - --pool-name=qwen-inference-pool
            - --pool-namespace=default
            - -grpcPort
            - '9002'
            - --kv-event-dial
`
const SERVICE = `apiVersion: v1
kind: Service
metadata:
  name: epp-default-qwen-inference-pool
  namespace: envoy-gateway-system
spec:
  ports:
    - port: 9002
`

export const BROKEN_VARIANTS: readonly BrokenVariant[] = [
  {
    name: 'another block size in the policy',
    edits: [[P, 'blockSize: 64', 'blockSize: 16']],
    problems: [
      `error: inference-policy.yaml:27:28  spec.profile.single.trafficPolicy.prefixCache.trackingConfig.indexerConfig.tokenProcessorConfig.blockSize: is 16, but container "vllm" of Deployment qwen3 has --block-size 64 (vllm.yaml:37); write 64 here, or --block-size 16 there`,
    ],
  },
  {
    name: 'no block size for the engine',
    edits: [[V, ' --block-size 64', '']],
    problems: [
      `error: inference-policy.yaml:27:28  spec.profile.single.trafficPolicy.prefixCache.trackingConfig.indexerConfig.tokenProcessorConfig.blockSize: is 64, but container "vllm" of Deployment qwen3 has no --block-size, which makes it 16 on GPUs; add --block-size 64 there`,
    ],
  },
  {
    name: 'another seed in the policy',
    edits: [[P, 'hashSeed: 42', 'hashSeed: 7']],
    problems: [
      `error: vllm.yaml:45:22  spec.template.spec.containers[0].env[1].value: PYTHONHASHSEED is "42", but hashSeed of InferenceTrafficPolicy inference-policy is 7 (inference-policy.yaml:28); write '7' here, or 42 there`,
    ],
  },
  {
    name: 'the seed 0',
    edits: [[V, "value: '42'", "value: '0'"]],
    problems: [
      `error: vllm.yaml:45:22  spec.template.spec.containers[0].env[1].value: PYTHONHASHSEED is "0", and must be a text other than 0; write '42'`,
    ],
  },
  {
    name: 'a seed that is a number',
    edits: [[V, "value: '42'", 'value: 42']],
    problems: [
      `error: vllm.yaml:45:22  spec.template.spec.containers[0].env[1].value: PYTHONHASHSEED is 42, and Kubernetes takes text here; write '42'`,
    ],
  },
  {
    name: 'no seed',
    edits: [[V, "            - name: PYTHONHASHSEED\n              value: '42'\n", '']],
    problems: [
      `error: vllm.yaml:38:11  spec.template.spec.containers[0].env: PYTHONHASHSEED is missing, but hashSeed of InferenceTrafficPolicy inference-policy is 42 (inference-policy.yaml:28); add it with the value '42'`,
    ],
  },
  {
    name: 'no hash algorithm, with a release whose default cannot be computed',
    edits: [[V, '--prefix-caching-hash-algo sha256_cbor_64bit ', '']],
    problems: [
      `error: vllm.yaml:29:11  spec.template.spec.containers[0].command: --prefix-caching-hash-algo is missing, and vLLM 0.10.0 then uses "builtin", whose hashes nobody else can compute; add --prefix-caching-hash-algo sha256_cbor_64bit`,
    ],
  },
  {
    name: "a newer release's hash algorithm",
    edits: [[V, 'sha256_cbor_64bit', 'sha256_cbor']],
    problems: [
      `error: vllm.yaml:37:42  spec.template.spec.containers[0].command[2]: vLLM 0.10.0 does not know "sha256_cbor"; write sha256_cbor_64bit`,
    ],
  },
  {
    name: "an older release's hash algorithm",
    edits: [[V, 'vllm:0.10.0', 'vllm:0.11.0']],
    problems: [
      `error: vllm.yaml:37:42  spec.template.spec.containers[0].command[2]: vLLM 0.11.0 does not know "sha256_cbor_64bit"; write sha256_cbor`,
    ],
  },
  {
    name: 'events that are not enabled',
    edits: [[V, '\\"enable_kv_cache_events\\":true', '\\"enable_kv_cache_events\\":false']],
    problems: [
      `error: vllm.yaml:36:44  spec.template.spec.containers[0].command[2]: --kv-events-config: enable_kv_cache_events is false, so that no events are sent; write true`,
    ],
  },
  {
    name: 'no publisher',
    edits: [[V, '\\"publisher\\":\\"zmq\\",', '']],
    problems: [
      `error: vllm.yaml:36:16  spec.template.spec.containers[0].command[2]: --kv-events-config: publisher is missing, so that no events are sent; write "zmq"`,
    ],
  },
  {
    name: 'an event configuration that is no JSON',
    edits: [[V, '\\"publisher\\":\\"zmq\\",', '\\"publisher\\":zmq,']],
    problems: [
      `error: vllm.yaml:36:16  spec.template.spec.containers[0].command[2]: --kv-events-config must be JSON: Unexpected token 'z', ..."ublisher":zmq,"endpo"... is not valid JSON; write --kv-events-config "{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"endpoint\\":\\"tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557\\",\\"topic\\":\\"kv@\${POD_IP}@Qwen3-32B\\"}"`,
    ],
  },
  {
    name: 'no event configuration',
    edits: [
      [V, '--kv-events-config', ''],
      [V, `${' '.repeat(14)}${EVENTS}\n`, ''],
    ],
    problems: [
      `error: vllm.yaml:29:11  spec.template.spec.containers[0].command: --kv-events-config is missing, so that the picker never learns what container "vllm" of Deployment qwen3 has cached; add --kv-events-config "{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"endpoint\\":\\"tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557\\",\\"topic\\":\\"kv@\${POD_IP}@Qwen3-32B\\"}"`,
    ],
  },
  {
    name: "another pool's Service",
    edits: [[V, 'epp-default-qwen-inference-pool', 'epp-default-qwen-pool']],
    problems: [
      `error: vllm.yaml:36:86  spec.template.spec.containers[0].command[2]: --kv-events-config: endpoint connects to "epp-default-qwen-pool.envoy-gateway-system.svc.cluster.local", but the picker of InferencePool qwen-inference-pool is the Service epp-default-qwen-inference-pool in namespace envoy-gateway-system; write "tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557"`,
    ],
  },
  {
    name: 'another event port',
    edits: [[V, 'cluster.local:5557', 'cluster.local:5558']],
    problems: [
      `error: vllm.yaml:36:86  spec.template.spec.containers[0].command[2]: --kv-events-config: endpoint has port 5558, but the picker takes events at port 5557; write 5557`,
    ],
  },
  {
    name: 'an engine that binds',
    edits: [
      [
        V,
        'tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557',
        'tcp://*:5557',
      ],
    ],
    problems: [
      `error: vllm.yaml:36:86  spec.template.spec.containers[0].command[2]: --kv-events-config: endpoint binds port 5557, and the picker binds too, so that neither connects; write "tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557", or have the picker dial with --kv-events-dial`,
    ],
  },
  {
    name: 'a topic of another form',
    edits: [[V, TOPIC, 'kv-events']],
    problems: [
      `error: vllm.yaml:36:182  spec.template.spec.containers[0].command[2]: --kv-events-config: topic "kv-events" is not of the form kv@ADDRESS@MODEL; write "kv@\${POD_IP}@Qwen3-32B"`,
    ],
  },
  {
    name: 'a topic in single quotes',
    edits: [[V, TOPIC, TOPIC.replace(/\$.*\}/, `"'$&'"`)]],
    problems: [
      `error: vllm.yaml:36:187  spec.template.spec.containers[0].command[2]: --kv-events-config: topic has \${POD_IP} inside single quotes, where the shell does not expand it; write --kv-events-config "{\\"enable_kv_cache_events\\":true,\\"publisher\\":\\"zmq\\",\\"endpoint\\":\\"tcp://epp-default-qwen-inference-pool.envoy-gateway-system.svc.cluster.local:5557\\",\\"topic\\":\\"kv@\${POD_IP}@Qwen3-32B\\"}"`,
    ],
  },
  {
    name: 'a topic of another model',
    edits: [[V, '@Qwen3-32B\\"', '@Qwen/Qwen3-32B\\"']],
    problems: [
      `error: vllm.yaml:36:195  spec.template.spec.containers[0].command[2]: --kv-events-config: topic says model "Qwen/Qwen3-32B", but container "vllm" of Deployment qwen3 serves "Qwen3-32B"; write "kv@\${POD_IP}@Qwen3-32B"`,
    ],
  },
  {
    name: 'no POD_IP',
    edits: [[V, 'name: POD_IP', 'name: IP']],
    problems: [
      `error: vllm.yaml:36:182  spec.template.spec.containers[0].command[2]: --kv-events-config: topic has \${POD_IP}, but POD_IP is not in env; add to env: { name: POD_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }`,
    ],
  },
  {
    name: "the node's address for the pod's",
    edits: [[V, 'status.podIP', 'status.hostIP']],
    problems: [
      `error: vllm.yaml:43:30  spec.template.spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: POD_IP is status.hostIP, but stands in the topic of --kv-events-config (vllm.yaml:36) for the pod's address; write status.podIP`,
    ],
  },
  {
    name: 'another port',
    edits: [[P, 'targetPortNumber: 8000', 'targetPortNumber: 8001']],
    problems: [
      `error: inference-policy.yaml:7:21  spec.targetPortNumber: is 8001, but container "vllm" of Deployment qwen3 has --port 8000 (vllm.yaml:34); write 8000, or --port 8001 there`,
    ],
  },
  {
    name: 'a selector that selects nothing',
    edits: [[P, 'app: qwen3', 'app: qwen']],
    problems: [
      `error: inference-policy.yaml:9:5  spec.selector: no pods in namespace "default" have app=qwen; Deployment qwen3 in namespace "default" has app=qwen3: write that here, or the other there`,
    ],
  },
  {
    name: 'a policy for no pool',
    edits: [
      [P, 'poolRef:\n    name: qwen-inference-pool', 'poolRef:\n    name: qwen-inference-pol'],
    ],
    problems: [
      `error: inference-policy.yaml:18:11  spec.poolRef.name: "qwen-inference-pol" names no InferencePool in namespace "default"; did you mean "qwen-inference-pool"?`,
    ],
  },
  {
    name: 'a mode that is none',
    edits: [[P, 'mode: tracking', 'mode: precise']],
    problems: [
      `error: inference-policy.yaml:23:17  spec.profile.single.trafficPolicy.prefixCache.mode: is "precise"; use one of tracking, estimate`,
    ],
  },
  {
    name: 'a field that the policy does not have',
    edits: [[P, '          mode: tracking', '          mode: tracking\n          ttl: 2s']],
    problems: [
      `warning: inference-policy.yaml:24:11  spec.profile.single.trafficPolicy.prefixCache.ttl: is not known here and has no effect`,
    ],
  },
  {
    name: 'a route to another group',
    edits: [[G, 'group: inference.networking.x-k8s.io', 'group: inference.networking.k8s.io']],
    problems: [
      `error: inference-gateway.yaml:27:14  spec.rules[0].backendRefs[0].group: "inference.networking.k8s.io" is not the group of InferencePool qwen-inference-pool (inference-policy.yaml:2); write inference.networking.x-k8s.io`,
    ],
  },
  {
    name: 'a route to no pool',
    edits: [[G, 'name: qwen-inference-pool', 'name: qwen-inference']],
    problems: [
      `error: inference-gateway.yaml:25:13  spec.rules[0].backendRefs[0].name: "qwen-inference" names no InferencePool in namespace "default"; there is qwen-inference-pool`,
    ],
  },
  {
    name: 'prefix caching off',
    edits: [[V, '--enforce-eager', '--no-enable-prefix-caching']],
    problems: [
      `error: vllm.yaml:35:45  spec.template.spec.containers[0].command[2]: without prefix caching the engine keeps no blocks and tells of none; remove --no-enable-prefix-caching`,
    ],
  },
  {
    name: 'prompts shorter than a block',
    edits: [[V, '--max-model-len 8192', '--max_model_len=32']],
    problems: [
      `error: vllm.yaml:34:63  spec.template.spec.containers[0].command[2]: --max-model-len 32 is less than one block of 64 tokens, so that no prompt is ever cached; write at least 128`,
    ],
  },
  {
    name: 'two policies for one pool',
    edits: [],
    added: { 'second.yaml': SECOND_POLICY },
    problems: [
      `error: second.yaml:7:11  spec.poolRef.name: InferenceTrafficPolicy inference-policy names InferencePool qwen-inference-pool already (inference-policy.yaml:18); remove one of them`,
    ],
  },
  {
    name: 'three pickers behind one Service, with an unknown flag',
    edits: [],
    added: { 'picker.yaml': PICKER },
    problems: [
      `error: picker.yaml:7:13  spec.replicas: 3 replicas bind the port of the KV events behind one Service, so that each gets a part of them; write 1, or add --ha-enable-leader-election, or have the picker dial the engines with --kv-events-dial`,
      `warning: picker.yaml:21:15  spec.template.spec.containers[0].args[4]: the picker has no flag --kv-event-dial; did you mean --kv-events-dial?`,
    ],
  },
  {
    name: 'a Service without the event port',
    edits: [],
    added: { 'service.yaml': SERVICE },
    problems: [
      `error: vllm.yaml:36:86  spec.template.spec.containers[0].command[2]: --kv-events-config: endpoint has port 5557, which Service envoy-gateway-system/epp-default-qwen-inference-pool does not have (it has 9002); give it the port 5557`,
    ],
  },
  {
    name: 'two slips at once',
    edits: [
      [V, '--port=8000', '--port=8080'],
      [P, 'model: Qwen/Qwen3-32B', 'model: Qwen/Qwen2.5-7B'],
    ],
    problems: [
      `error: inference-policy.yaml:7:21  spec.targetPortNumber: is 8000, but container "vllm" of Deployment qwen3 has --port 8080 (vllm.yaml:34); write 8080, or --port 8000 there`,
      `warning: inference-policy.yaml:29:24  spec.profile.single.trafficPolicy.prefixCache.trackingConfig.indexerConfig.tokenProcessorConfig.model: is "Qwen/Qwen2.5-7B", but container "vllm" of Deployment qwen3 serves "Qwen3-32B" from "/models/Qwen3-32B"; write the model whose tokenizer that one has`,
    ],
  },
]
