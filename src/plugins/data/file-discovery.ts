import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Says which file names the endpoints; read when the picker starts, and followed from then on. */
export const fileDiscovery = definePlugin({
  kind: 'observer',
  type: 'file-discovery',
  description: 'Takes the endpoints from a file.',
  params: Type.Object({
    path: Type.String({
      minLength: 1,
      description:
        'The file, from the folder in which the picker runs; --endpoint, --endpoints-file and Kubernetes come before it.',
    }),
    watchFile: Type.Optional(
      Type.Boolean({ description: 'Changes are always taken over; false is without effect.' }),
    ),
  }),
  lint: ({ watchFile }, { name, plugins }) => {
    const first = plugins.find(({ type }) => type === 'file-discovery')
    const second =
      first !== undefined && first.name !== name
        ? `has no effect, since "${first.name}" names the file already; remove one`
        : undefined
    return [
      ...(second === undefined ? [] : [{ kind: 'warning', path: [], message: second } as const]),
      ...(watchFile === false
        ? [
            {
              kind: 'warning',
              path: ['watchFile'],
              message: 'has no effect: changes of the file are always taken over; remove it',
            } as const,
          ]
        : []),
    ]
  },
  create: () => ({}),
})
