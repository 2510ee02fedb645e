#include "ttrpc.h"
