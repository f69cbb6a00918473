"""What was seen and what became of it: the ledger of file versions and the tables around it. No Spark, no Airflow."""

import os

# pyarrow brings numpy along, and its OpenBLAS begins with a thread for each core: 0.1 s of CPU in each process, for
# nothing that is computed here. It is read at the import of numpy; who sets it otherwise has it so.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
