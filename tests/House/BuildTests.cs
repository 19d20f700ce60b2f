using System;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using LowLevel.Allocator;
using LowLevel.Allocator.AspNetCore;
using LowLevel.Interop.Linux;
using LowLevel.Native;
using Xunit;

namespace LowLevel.Tests.House;

/// <summary>What Directory.Build.props promises, seen in what was built: a condition that is evaluated too early switches a setting off
/// without a word.</summary>
public sealed class BuildTests
{
    private static Assembly[] Shipped => [typeof(Page).Assembly, typeof(Errno).Assembly, typeof(PageArena).Assembly, typeof(ArenaMemoryPoolFactory).Assembly];

    [Fact]
    public void Shipped_assemblies_are_compiled_for_trimming_and_ahead_of_time()
    {
        Assert.All(Shipped, assembly =>
        {
            string[] settings = [.. assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Select(m => m.Key + "=" + m.Value)];
            Assert.Contains("IsTrimmable=True", settings, StringComparer.OrdinalIgnoreCase);
            Assert.Contains("IsAotCompatible=True", settings, StringComparer.OrdinalIgnoreCase);
        });
    }

    [Fact]
    public void Shipped_assemblies_disable_runtime_marshalling() =>
        Assert.All(Shipped, assembly => Assert.NotNull(assembly.GetCustomAttribute<DisableRuntimeMarshallingAttribute>()));

    [Fact]
    public void Arithmetic_is_checked_in_Debug_and_not_in_Release()
    {
        int most = int.Parse(int.MaxValue.ToString(System.Globalization.CultureInfo.InvariantCulture), System.Globalization.CultureInfo.InvariantCulture);
        bool isChecked = false;
        try
        {
            _ = most + 1;
        }
        catch (OverflowException)
        {
            isChecked = true;
        }

        bool debug = typeof(BuildTests).Assembly.GetCustomAttribute<AssemblyConfigurationAttribute>()?.Configuration != "Release";
        Assert.Equal(debug, isChecked);
    }
}
