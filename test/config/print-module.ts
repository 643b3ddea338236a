/** Loads one module as a program does, and prints what is known of its plugins. */
import { loadConfig } from '../../src/config/load.ts'
import { ModuleLoader } from '../../src/config/module-loader.ts'
import { PREFIX_INDEX } from '../../src/framework/services.ts'
import { endpoint } from '../../src/framework/testing.ts'
import { builtinPlugins } from '../../src/plugins/index.ts'

const [file = '', name = ''] = process.argv.slice(2)
const modules = new ModuleLoader(builtinPlugins)
const { plugins, problems } = await modules.load([name], file)
if (problems.length > 0) throw new Error(JSON.stringify(problems))
const types = plugins.map(({ type }) => type)
const text = JSON.stringify({
  apiVersion: 'llm-d.ai/v1alpha1',
  kind: 'EndpointPickerConfig',
  modules: [name],
  schedulingProfiles: [{ name: 'default', plugins: types.map((type) => ({ type })) }],
})
const { spec } = await loadConfig(text, file, builtinPlugins, modules)
const own = spec.plugins.filter(({ plugin }) => types.includes(plugin.type))
const lines = own.map(({ plugin, params }) => ({
  type: plugin.type,
  sameToken: (plugin.inject as { index: unknown }).index === PREFIX_INDEX,
  sameKit: (plugin as unknown as { kit: unknown }).kit === endpoint,
  params,
}))
process.stdout.write(JSON.stringify(lines))
