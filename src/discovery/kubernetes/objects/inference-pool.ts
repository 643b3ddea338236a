import { type Fault, type Field, readObject } from './field.ts'
import { type ObjectMeta, readGroup, readMeta } from './object-meta.ts'

/** An InferencePool of either API group. Source: GIE's api/v1 and apix/v1alpha2. */
export interface InferencePool {
  readonly meta: ObjectMeta
  readonly group: string
  /** Labels that its pods have; at least one. */
  readonly selector: Readonly<Record<string, string>>
  /** One to eight different ports; the position is the rank. */
  readonly targetPorts: readonly number[]
  /** Name of the Service that it names as its picker; undefined when it names none. */
  readonly pickerService: string | undefined
}

const MAX_PORTS = 8

/** Reads an InferencePool, or says what is wrong with it. */
export function readInferencePool(object: unknown): InferencePool | Fault {
  return readObject(object, (root) => {
    const spec = root.get('spec')
    return {
      meta: readMeta(root),
      group: readGroup(root),
      selector: readSelector(spec.get('selector')),
      targetPorts: readPorts(spec),
      pickerService: readPicker(spec),
    }
  })
}

/** A plain map of labels (v1alpha2), or the same under `matchLabels` (v1). */
function readSelector(selector: Field): Readonly<Record<string, string>> {
  const nested = typeof selector.get('matchLabels').value === 'object'
  const extra = nested ? selector.keys().find((key) => key !== 'matchLabels') : undefined
  if (extra !== undefined) selector.get(extra).fail('is not supported; use matchLabels alone')
  const labels = (nested ? selector.get('matchLabels') : selector).texts()
  if (Object.keys(labels).length === 0) {
    selector.fail('selects nothing in particular; give at least one label')
  }
  return labels
}

function readPorts(spec: Field): readonly number[] {
  const list = spec.get('targetPorts')
  if (!list.present) return [spec.get('targetPortNumber').integer(1, 65535)]
  const ports = list.items().map((item) => item.get('number').integer(1, 65535))
  if (ports.length < 1 || ports.length > MAX_PORTS) {
    list.fail(`has ${ports.length} ports; give from 1 to ${MAX_PORTS}`)
  }
  const twice = ports.find((port, i) => ports.indexOf(port) !== i)
  if (twice !== undefined) list.fail(`names port ${twice} twice; remove one`)
  return ports
}

function readPicker(spec: Field): string | undefined {
  const current = spec.get('endpointPickerRef')
  const ref = current.present ? current : spec.get('extensionRef')
  if (!ref.present || ref.get('kind').textOr('Service') !== 'Service') return undefined
  return ref.get('name').text()
}
