import {
  type Expansion,
  MAX_WORD_CHARACTERS,
  plainWord,
  type Variables,
  type Word,
  WordBuilder,
} from '../../../framework/engine-command/word.ts'
import {
  isFields,
  type KubernetesObject,
  listAt,
  type Path,
  shown,
  textOf,
  valueAt,
} from './manifest.ts'

/** One variable of a container. */
export interface EnvVariable {
  /** Of the entry in `env`. */
  readonly path: Path
  readonly expansion: Expansion
  /** The pod's field whose value it has, such as `status.podIP`. */
  readonly field: string | undefined
  /** What the manifest says where a text must stand and something else does; undefined when it is a text. */
  readonly wrongValue: unknown
}

/** What stands for the value of a pod's field, which is known only when the pod runs. */
export function fieldMark(field: string): string {
  return `{${field}}`
}

/** The variables in a container's `env`, with references between them resolved, by their names. */
export function readEnvironment(
  container: unknown,
  containerPath: Path,
  configMaps: readonly KubernetesObject[],
  namespace: string,
): ReadonlyMap<string, EnvVariable> {
  const variables = new Map<string, EnvVariable>()
  for (const [index, entry] of listAt(container, ['env']).entries()) {
    const name = textOf(valueAt(entry, ['name']))
    if (name === undefined) continue
    const value = valueAt(entry, ['value'])
    const field = textOf(valueAt(entry, ['valueFrom', 'fieldRef', 'fieldPath']))
    const text = typeof value === 'string' ? value : value === undefined ? '' : shown(value)
    variables.set(name, {
      path: [...containerPath, 'env', index],
      expansion: isFields(valueAt(entry, ['valueFrom']))
        ? fromElsewhere(entry, field, configMaps, namespace)
        : text.length > MAX_WORD_CHARACTERS
          ? { value: `{${name}}`, known: false }
          : expansionOf(resolveReferences(text, 0, variables)),
      field,
      wrongValue: typeof value === 'string' ? undefined : value,
    })
  }
  return variables
}

function fromElsewhere(
  entry: unknown,
  field: string | undefined,
  configMaps: readonly KubernetesObject[],
  namespace: string,
): Expansion {
  if (field !== undefined) return { value: fieldMark(field), known: true }
  const ref = valueAt(entry, ['valueFrom', 'configMapKeyRef'])
  const [name, key] = [textOf(valueAt(ref, ['name'])), textOf(valueAt(ref, ['key']))]
  const map = configMaps.find((each) => each.namespace === namespace && each.name === name)
  const value = key === undefined ? undefined : valueAt(map?.manifest.value, ['data', key])
  return typeof value === 'string'
    ? { value, known: true }
    : { value: `{${textOf(valueAt(entry, ['name']))}}`, known: false }
}

function expansionOf({ value, unknown }: Word): Expansion {
  return { value, known: !unknown }
}

/**
 * A text of `command`, `args` or `env` as the kubelet hands it on: `$(NAME)` is the variable's value where there is one,
 * `$$` a dollar (Kubernetes, third_party/forked/golang/expansion).
 */
export function resolveReferences(
  text: string,
  source: number,
  variables: ReadonlyMap<string, EnvVariable>,
): Word {
  const written = plainWord(text, source)
  const builder = new WordBuilder(written, 0)
  for (let i = 0; i < text.length; i++) {
    const next = text[i] === '$' ? text[i + 1] : undefined
    if (next === '$') {
      builder.add('$', i++, 'escaped')
      continue
    }
    const end = next === '(' ? text.indexOf(')', i) : -1
    const variable = end < 0 ? undefined : variables.get(text.slice(i + 2, end))
    if (variable === undefined) builder.add(text[i]!, i, 'bare')
    else {
      builder.expand(variable.expansion, i)
      i = end
    }
  }
  return builder.build(text.length)
}

/** The variables as a shell in the container finds them; one that is not in `env` may come from the image. */
export function shellVariables(variables: ReadonlyMap<string, EnvVariable>): Variables {
  return (name) => variables.get(name)?.expansion ?? { value: `{$${name}}`, known: false }
}
