//! Accounts, devices, activation codes and tokens. Only hashes of secrets come here.
