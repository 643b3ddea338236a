import { isDeepStrictEqual } from 'node:util'
import type { PluginUse, Remark } from '../framework/plugin.ts'

/**
 * What a plugin says that configures a service of which there is one, when an earlier one of its type says otherwise.
 *
 * @param service as messages name it: `the index of tracked blocks`
 */
export function oneConfiguration(service: string, { name, plugins }: PluginUse): readonly Remark[] {
  const at = plugins.findIndex((plugin) => plugin.name === name)
  const own = plugins[at]
  const first = plugins.slice(0, Math.max(0, at)).find(({ type }) => type === own?.type)
  if (first === undefined || isDeepStrictEqual(first.params, own?.params)) return []
  return [
    {
      kind: 'warning',
      path: [],
      message: `and "${first.name}" both configure ${service}, each otherwise; give them the same parameters, or keep one`,
    },
  ]
}
