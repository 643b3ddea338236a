export type HubName = 'huggingface' | 'modelscope'

interface Hub {
  readonly url: string
  readonly revision: string
  /** Environment variable with the token. */
  readonly tokenVariable: string
  /** What stands before the model's name in the path. */
  readonly prefix: string
  headers(token: string): Readonly<Record<string, string>>
}

/** Addresses, layouts and ways to show a token (https://huggingface.co/docs/huggingface_hub, https://modelscope.cn/docs). */
export const HUBS: Readonly<Record<HubName, Hub>> = {
  huggingface: {
    url: 'https://huggingface.co',
    revision: 'main',
    tokenVariable: 'HF_TOKEN',
    prefix: '',
    headers: (token) => ({ authorization: `Bearer ${token}` }),
  },
  modelscope: {
    url: 'https://www.modelscope.cn',
    revision: 'master',
    tokenVariable: 'MODELSCOPE_API_TOKEN',
    prefix: 'models/',
    // Older releases of the hub know the cookie only.
    headers: (token) => ({ authorization: `Bearer ${token}`, cookie: `m_session_id=${token}` }),
  },
}
