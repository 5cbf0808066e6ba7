//! The control thread: lowers the configuration, starts and watches the workers; the verbs of the command line
