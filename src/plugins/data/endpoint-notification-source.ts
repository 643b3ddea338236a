import { Type } from 'typebox'
import { definePlugin } from '../../framework/plugin.ts'

/** Stands for the news of endpoints that come and go, which every plugin that needs them is told. */
export const endpointNotificationSource = definePlugin({
  kind: 'observer',
  type: 'endpoint-notification-source',
  description: 'Tells plugins of endpoints that come and go, as is done without it.',
  params: Type.Object({}),
  create: () => ({}),
})
