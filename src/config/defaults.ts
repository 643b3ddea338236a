/** What stands in for parts that a file leaves out, as in the field: GIE's and llm-d's loaders. */
export const DEFAULT_PROFILE = 'default'
export const DEFAULT_PICKER = 'max-score-picker'
export const DEFAULT_HANDLER = 'single-profile-handler'
