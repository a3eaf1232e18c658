"""``turbospec profile``: profiles as files and objects: shared, compared, fitted, drawn, promoted and watched."""
